package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	segmentHeader = 64
	segmentMagic  = "TranchSg"
	segmentSuffix = ".segment"
	version       = 1

	// prefixSize is the part of a file's head that all versions have: magic, version, and the checksum of these two.
	prefixSize = 16
)

// extent is what the manifest says of a segment.
type extent struct {
	number uint64
	id     [16]byte // random; its checksum is the salt of all others in the segment
	first  uint64   // the sequence of its first record
	last   uint64   // of the last one known to be durable; first−1: none
	end    int64    // where that one ends
	sealed bool     // nothing was acknowledged behind end, and nothing will be written there
}

func (e extent) salt() uint32   { return checksum(0, e.id[:]) }
func (e extent) records() int64 { return int64(e.last + 1 - e.first) }

func segmentName(number uint64) string { return fmt.Sprintf("%020d%s", number, segmentSuffix) }

// segmentNumber reads a name that segmentName made.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && segmentName(n) == name
}

func encodePrefix(magic string) []byte {
	b := make([]byte, prefixSize)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], checksum(0, b[:12]))
	return b
}

var errDamaged = errors.New("damaged")

// checkPrefix gives ErrVersion or errDamaged.
func checkPrefix(b []byte, magic string) error {
	if len(b) < prefixSize || string(b[:8]) != magic || binary.LittleEndian.Uint32(b[12:]) != checksum(0, b[:12]) {
		return errDamaged
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > version {
		return fmt.Errorf("%w: version %d, known is %d", ErrVersion, v, version)
	}
	return nil
}

func encodeHeader(e extent, size int64) []byte {
	b := make([]byte, segmentHeader)
	copy(b, encodePrefix(segmentMagic))
	binary.LittleEndian.PutUint64(b[16:], e.number)
	binary.LittleEndian.PutUint64(b[24:], uint64(size))
	copy(b[32:], e.id[:])
	binary.LittleEndian.PutUint32(b[60:], checksum(0, b[:60]))
	return b
}

// cursor reads a file in large steps.
type cursor struct {
	file  io.ReaderAt
	size  int64
	step  int
	buf   []byte
	start int64 // where buf is in the file
}

const cursorStep = 256 << 10

func newCursor(file io.ReaderAt, size int64) *cursor {
	return &cursor{file: file, size: size, step: cursorStep}
}

// at gives n bytes at an offset, valid until the next call; nil if the file has not that many.
func (c *cursor) at(offset int64, n int) ([]byte, error) {
	if offset+int64(n) > c.size {
		return nil, nil
	}
	if offset < c.start || offset+int64(n) > c.start+int64(len(c.buf)) {
		if err := c.load(offset, max(n, c.step)); err != nil {
			return nil, err
		}
	}
	from := offset - c.start
	return c.buf[from : from+int64(n) : from+int64(n)], nil
}

func (c *cursor) load(offset int64, n int) error {
	n = int(min(int64(n), c.size-offset))
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	c.buf, c.start = c.buf[:n], offset
	if got, err := c.file.ReadAt(c.buf, offset); got < n {
		c.buf = c.buf[:0]
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	return nil
}

// record reads the one at an offset; a size of 0 means that there is none that passes its checks.
func (c *cursor) record(offset int64, salt uint32) (record, int64, error) {
	head, err := c.at(offset, recordHeader)
	if err != nil || head == nil {
		return record{}, 0, err
	}
	size, ok := plausible(head)
	if !ok {
		return record{}, 0, nil
	}
	whole, err := c.at(offset, size)
	if err != nil || whole == nil {
		return record{}, 0, err
	}
	rec, ok := decodeRecord(whole, salt)
	if !ok {
		return record{}, 0, nil
	}
	return rec, int64(size), nil
}

// zeros reports whether only zeros are left from an offset on.
func (c *cursor) zeros(offset int64) (bool, error) {
	for offset < c.size {
		chunk, err := c.at(offset, int(min(cursorStep, c.size-offset)))
		if err != nil {
			return false, err
		}
		if leadingZeros(chunk) < len(chunk) {
			return false, nil
		}
		offset += int64(len(chunk))
	}
	return true, nil
}

// segmentReader reads one segment as the recovery rules say.
type segmentReader struct {
	*cursor
	path   string
	extent extent
}

// visitor is called with each record that counts, in order.
type visitor func(path string, offset int64, rec record) error

// header holds the head of the file against the manifest.
func (s *segmentReader) header() error {
	b, err := s.at(0, int(min(segmentHeader, s.size)))
	if err != nil {
		return err
	}
	switch err := checkPrefix(b, segmentMagic); {
	case errors.Is(err, ErrVersion):
		return fmt.Errorf("%s: %w", filepath.Base(s.path), err)
	case err != nil, len(b) < segmentHeader, binary.LittleEndian.Uint32(b[60:]) != checksum(0, b[:60]):
		return corrupt(s.path, 0, "damaged header")
	case binary.LittleEndian.Uint64(b[16:]) != s.extent.number, [16]byte(b[32:48]) != s.extent.id:
		return corrupt(s.path, 0, "not the segment that the manifest names")
	case !s.extent.sealed && s.size < int64(binary.LittleEndian.Uint64(b[24:])), s.size < s.extent.end:
		return corrupt(s.path, s.size, "the file is too short")
	}
	return nil
}

// read goes over all records, and gives the extent as it is: with the last record that counts, and where it ends.
func (s *segmentReader) read(visit visitor) (extent, error) {
	if err := s.header(); err != nil {
		return extent{}, err
	}
	e := s.extent
	e.last, e.end = e.first-1, segmentHeader
	for {
		if s.extent.sealed && e.end == s.extent.end {
			break
		}
		rec, size, err := s.record(e.end, e.salt())
		if err != nil {
			return extent{}, err
		}
		if size == 0 || rec.seq != e.last+1 {
			break
		}
		if err := visit(s.path, e.end, rec); err != nil {
			return extent{}, err
		}
		e.last, e.end = rec.seq, e.end+size
	}
	return e, s.checkEnd(e)
}

// checkEnd decides whether what was read may end where it does.
func (s *segmentReader) checkEnd(e extent) error {
	known := s.extent
	switch {
	case e.end < known.end:
		return corrupt(s.path, e.end, "record %d is damaged or missing", e.last+1)
	case e.end == known.end && e.last != known.last:
		return corrupt(s.path, e.end, "ends with record %d instead of %d", e.last, known.last)
	case known.sealed && e.end != known.end:
		return corrupt(s.path, e.end, "record %d reaches beyond the segment's end", e.last)
	case known.sealed:
		return nil
	}
	return s.checkTail(e)
}

// checkTail looks for proof, anywhere behind the end, that more than that had been durable. Whole records of the group that was
// being written are none: sectors reach the disk in any order, so a torn group may have any of its parts.
func (s *segmentReader) checkTail(e extent) error {
	for offset := e.end; offset < s.size; {
		if n, err := s.skipZeros(offset); err != nil {
			return err
		} else if n > 0 {
			offset += n
			continue
		}
		rec, size, err := s.record(offset, e.salt())
		if err != nil {
			return err
		}
		if size > 0 && rec.durable() > e.last {
			return corrupt(s.path, e.end, "record %d is damaged or missing: it had been durable before record %d at byte %d was written",
				e.last+1, rec.seq, offset)
		}
		offset += recordAlign
	}
	return nil
}

// skipZeros is what makes a search through an almost empty segment quick. A record has something else than zeros among the bytes
// of its header, so of a run of zeros all but the last ones can be passed over.
func (s *segmentReader) skipZeros(offset int64) (int64, error) {
	b, err := s.at(offset, int(min(4096, s.size-offset)))
	if err != nil {
		return 0, err
	}
	zeros := leadingZeros(b)
	if offset+int64(zeros) == s.size {
		return int64(zeros), nil
	}
	return int64(max(0, zeros-recordHeader) &^ (recordAlign - 1)), nil
}

// leadingZeros counts them eight at a time, as long as there are so many.
func leadingZeros(b []byte) int {
	n := 0
	for n+8 <= len(b) && binary.LittleEndian.Uint64(b[n:]) == 0 {
		n += 8
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}
