package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
)

const (
	manifestName  = "manifest"
	manifestNew   = "manifest.new"
	manifestMagic = "TranchMf"

	manifestCopies = 2
	manifestSlot   = 64 << 10 // the copies lie this far apart
	manifestHead   = 48
	extentSize     = 56

	// maxSegments fits into a copy: a manifest is only ever written in place, so that a full disk can't keep segments from being
	// removed.
	maxSegments = 1024

	flagSealed = 1
)

// contents is what a manifest says: which segments there are, and how far each is known to be durable.
type contents struct {
	stamp       uint64 // rises with each copy written
	nextSeq     uint64 // at least this; the records of the last segment may go on from here
	nextSegment uint64
	extents     []extent // by number; all but the last one are sealed
}

func (p contents) encode() []byte {
	b := make([]byte, manifestHead+len(p.extents)*extentSize+4)
	copy(b, encodePrefix(manifestMagic))
	binary.LittleEndian.PutUint64(b[16:], p.stamp)
	binary.LittleEndian.PutUint64(b[24:], p.nextSeq)
	binary.LittleEndian.PutUint64(b[32:], p.nextSegment)
	binary.LittleEndian.PutUint32(b[40:], uint32(len(p.extents)))
	for i, e := range p.extents {
		at := b[manifestHead+i*extentSize:]
		binary.LittleEndian.PutUint64(at, e.number)
		copy(at[8:24], e.id[:])
		binary.LittleEndian.PutUint64(at[24:], e.first)
		binary.LittleEndian.PutUint64(at[32:], e.last)
		binary.LittleEndian.PutUint64(at[40:], uint64(e.end))
		if e.sealed {
			binary.LittleEndian.PutUint64(at[48:], flagSealed)
		}
	}
	end := len(b) - 4
	binary.LittleEndian.PutUint32(b[end:], checksum(0, b[:end]))
	return b
}

// decodeContents reads one copy. It gives errDamaged or ErrVersion.
func decodeContents(b []byte) (contents, error) {
	if err := checkPrefix(b, manifestMagic); err != nil {
		return contents{}, err
	}
	count, ok := countExtents(b)
	end := manifestHead + count*extentSize
	if !ok || len(b) < end+4 || binary.LittleEndian.Uint32(b[end:]) != checksum(0, b[:end]) {
		return contents{}, errDamaged
	}
	p := contents{
		stamp:       binary.LittleEndian.Uint64(b[16:]),
		nextSeq:     binary.LittleEndian.Uint64(b[24:]),
		nextSegment: binary.LittleEndian.Uint64(b[32:]),
		extents:     make([]extent, count),
	}
	for i := range p.extents {
		at := b[manifestHead+i*extentSize:]
		p.extents[i] = extent{
			number: binary.LittleEndian.Uint64(at),
			id:     [16]byte(at[8:24]),
			first:  binary.LittleEndian.Uint64(at[24:]),
			last:   binary.LittleEndian.Uint64(at[32:]),
			end:    int64(binary.LittleEndian.Uint64(at[40:])),
			sealed: binary.LittleEndian.Uint64(at[48:])&flagSealed != 0,
		}
	}
	return p, p.check()
}

// countExtents reads how many extents a copy has.
func countExtents(b []byte) (int, bool) {
	if len(b) < manifestHead {
		return 0, false
	}
	n := binary.LittleEndian.Uint32(b[40:])
	return int(n), n <= maxSegments
}

// check refuses what no version of this package writes, checksum or not.
func (p contents) check() error {
	next, number := uint64(1), uint64(0)
	for i, e := range p.extents {
		switch {
		case e.number <= number, e.number >= p.nextSegment, e.first < next, e.last+1 < e.first, e.end < segmentHeader:
			return errDamaged
		case i > 0 && e.number == number+1 && e.first != next: // a neighbour goes on where the one before ended
			return errDamaged
		case !e.sealed && i < len(p.extents)-1:
			return errDamaged
		}
		next, number = e.last+1, e.number
	}
	if p.nextSeq < next {
		return errDamaged
	}
	return nil
}

// manifest is the open file. Its copies say the same, and are written one after the other: whenever the writing stops, one is
// whole. It is for one goroutine at a time.
type manifest struct {
	file  File
	stamp uint64
	// first is the copy that is written first. After a start it is the one written last before: that write may have been cut
	// short, or its fsync may have failed and left a copy in the page cache that the disk has not. The other one is sound.
	first int
}

// write makes contents durable. After an error either the old or the new one is.
func (m *manifest) write(p contents) error {
	for i := range manifestCopies {
		slot := (m.first + i) % manifestCopies
		m.stamp++
		p.stamp = m.stamp
		if _, err := m.file.WriteAt(p.encode(), int64(slot)*manifestSlot); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
		if err := m.file.Sync(); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
	}
	return nil
}

// readManifest gives what the newest sound copy says, and which copy is to be written first.
func readManifest(file File, size int64) (p contents, first int, err error) {
	sound := 0
	for slot := range manifestCopies {
		copied, err := readCopy(file, size, int64(slot)*manifestSlot)
		switch {
		case errors.Is(err, errDamaged):
			first = slot
			continue
		case err != nil:
			return contents{}, 0, fmt.Errorf("manifest: %w", err)
		}
		sound++
		if copied.stamp > p.stamp {
			p = copied
			if sound == slot+1 { // all copies so far are sound: the newest is the one written last
				first = slot
			}
		}
	}
	if sound == 0 {
		return contents{}, 0, corrupt(manifestName, 0, "no copy of the manifest is sound")
	}
	return p, first, nil
}

func readCopy(file File, size, offset int64) (contents, error) {
	c := newCursor(file, size)
	c.step = 4096
	head, err := c.at(offset, manifestHead)
	if err != nil {
		return contents{}, err
	}
	if err := checkPrefix(head, manifestMagic); err != nil {
		return contents{}, err
	}
	count, ok := countExtents(head)
	if !ok {
		return contents{}, errDamaged
	}
	whole, err := c.at(offset, manifestHead+count*extentSize+4)
	if err != nil {
		return contents{}, err
	}
	return decodeContents(whole)
}

// createManifest puts an empty one in place, whole or not at all.
func createManifest(fsys FS, dir string, folder Dir) (*manifest, error) {
	path := filepath.Join(dir, manifestNew)
	file, err := fsys.Create(path)
	if err != nil {
		return nil, err
	}
	m := &manifest{file: file}
	_, err = file.WriteAt(make([]byte, manifestCopies*manifestSlot), 0)
	if err == nil {
		err = m.write(contents{nextSeq: 1, nextSegment: 1})
	}
	if err == nil {
		err = fsys.Rename(path, filepath.Join(dir, manifestName))
	}
	if err == nil {
		err = folder.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return m, nil
}
