package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// survey is what a look at a folder found, without changing anything.
type survey struct {
	fresh    bool // there is no journal yet
	manifest contents
	first    int      // the copy of the manifest to be written first
	segments []extent // as they are, the last one up to the last record that counts
	sizes    []int64  // of the files
	strays   []string // files that nothing refers to
}

// inspect follows the recovery rules, and calls visit with each record that counts.
func inspect(fsys FS, dir string, visit visitor) (*survey, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	s := &survey{}
	if !slices.Contains(names, manifestName) {
		return s, s.expectNothing(names)
	}
	if err := s.readManifest(fsys, filepath.Join(dir, manifestName)); err != nil {
		return nil, err
	}
	if err := s.findStrays(fsys, dir, names); err != nil {
		return nil, err
	}
	for _, e := range s.manifest.extents {
		if err := s.readSegment(fsys, filepath.Join(dir, segmentName(e.number)), e, visit); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// expectNothing: without a manifest there must be no segment (rule 1).
func (s *survey) expectNothing(names []string) error {
	for _, name := range names {
		if _, ok := segmentNumber(name); ok {
			return corrupt(manifestName, 0, "there are segments, but no manifest")
		}
		if name == manifestNew {
			s.strays = append(s.strays, name)
		}
	}
	s.fresh = true
	return nil
}

func (s *survey) readManifest(fsys FS, path string) error {
	file, err := fsys.OpenRead(path)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	s.manifest, s.first, err = readManifest(file, size)
	return err
}

// findStrays collects what the manifest does not name: segments that were about to be removed or had just been made (rule 3).
func (s *survey) findStrays(fsys FS, dir string, names []string) error {
	for _, name := range names {
		number, ok := segmentNumber(name)
		named := slices.ContainsFunc(s.manifest.extents, func(e extent) bool { return e.number == number })
		switch {
		case name == manifestNew:
		case !ok || named:
			continue
		case number >= s.manifest.nextSegment:
			if err := checkUnused(fsys, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		s.strays = append(s.strays, name)
	}
	return nil
}

// checkUnused: a segment that no manifest has ever named has nothing in it.
func checkUnused(fsys FS, path string) error {
	file, err := fsys.OpenRead(path)
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	unused, err := newCursor(file, size).zeros(segmentHeader)
	if err == nil && !unused {
		err = corrupt(path, segmentHeader, "the manifest does not name this segment, but something was written to it")
	}
	return err
}

func (s *survey) readSegment(fsys FS, path string, e extent, visit visitor) error {
	file, err := fsys.OpenRead(path)
	if errors.Is(err, fs.ErrNotExist) {
		return corrupt(path, 0, "the segment is missing")
	}
	if err != nil {
		return err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	r := segmentReader{cursor: newCursor(file, size), path: path, extent: e}
	read, err := r.read(visit)
	if err != nil {
		return err
	}
	s.segments, s.sizes = append(s.segments, read), append(s.sizes, size)
	return nil
}

func ignore(string, int64, record) error { return nil }

// Open reads a journal, or makes one. It gives a *CorruptError and changes nothing where something that had been durable is
// damaged; the rules are in the package's documentation. It needs no space on the disk, unless it makes a new journal.
func Open(cfg Config) (*Journal, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	j := &Journal{
		cfg:         cfg,
		metrics:     newMetrics(cfg.Metrics),
		stop:        make(chan struct{}),
		maintenance: make(chan struct{}, 1),
		size:        min(firstSegmentBytes, cfg.SegmentBytes),
		queue:       newQueue(int(min(maxGroupBytes, firstSegmentBytes-segmentHeader, cfg.SegmentBytes-segmentHeader))),
	}
	if err := j.recover(); err != nil {
		if passing(err) {
			err = wrap(ErrNoSpace, err)
		}
		return nil, fmt.Errorf("opening the journal: %w", err)
	}
	return j, nil
}

func (j *Journal) recover() error {
	if err := j.cfg.FS.MakeDir(j.cfg.Dir); err != nil {
		return err
	}
	found, err := inspect(j.cfg.FS, j.cfg.Dir, ignore)
	if err != nil {
		return err
	}
	if j.folder, err = j.cfg.FS.OpenDir(j.cfg.Dir); err != nil {
		return err
	}
	if err := j.repair(found); err != nil {
		if j.manifest != nil {
			err = errors.Join(err, j.manifest.file.Close())
		}
		return errors.Join(err, j.folder.Close())
	}
	return nil
}

// repair makes durable what inspect has found, and forgets the rest (rules 8 and 9).
func (j *Journal) repair(found *survey) error {
	for _, name := range found.strays {
		j.unreferenced = append(j.unreferenced, filepath.Join(j.cfg.Dir, name))
	}
	if found.fresh {
		return j.begin()
	}
	if n := len(found.segments); n > 0 && !found.segments[n-1].sealed {
		if err := j.rewrite(found.segments[n-1], found.manifest.extents[n-1].end); err != nil {
			return err
		}
		found.segments[n-1].sealed = true
	}
	file, err := j.cfg.FS.Open(filepath.Join(j.cfg.Dir, manifestName))
	if err != nil {
		return err
	}
	j.manifest = &manifest{file: file, stamp: found.manifest.stamp, first: found.first}
	segments := j.adopt(found)
	if err := j.writeManifest(segments); err != nil {
		return err
	}
	j.truncateLast()
	return j.removeUnreferenced()
}

func (j *Journal) begin() (err error) {
	j.nextSeq, j.nextSegment, j.named = 1, 1, 1
	if err := j.removeUnreferenced(); err != nil {
		return err
	}
	j.manifest, err = createManifest(j.cfg.FS, j.cfg.Dir, j.folder)
	return err
}

// rewrite writes the records that are not known to be durable once more, and syncs them. They may be in the page cache only, and
// after an fsync that failed the next one does nothing for them unless they are written again.
func (j *Journal) rewrite(e extent, known int64) (err error) {
	file, err := j.cfg.FS.Open(j.path(e.number))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	buf := make([]byte, min(fillStep, e.end-known))
	for offset := known; offset < e.end; offset += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), e.end-offset)]
		if _, err := file.ReadAt(buf, offset); err != nil {
			return err
		}
		if _, err := file.WriteAt(buf, offset); err != nil {
			return err
		}
	}
	return file.Sync()
}

// adopt takes over what was found, but for segments without a record.
func (j *Journal) adopt(found *survey) []*segment {
	j.nextSeq, j.nextSegment, j.named = found.manifest.nextSeq, found.manifest.nextSegment, found.manifest.nextSegment
	for _, name := range found.strays { // should they outlive their removal
		if number, ok := segmentNumber(name); ok {
			j.nextSegment = max(j.nextSegment, number+1)
		}
	}
	var segments []*segment
	for i, e := range found.segments {
		j.nextSeq = max(j.nextSeq, e.last+1)
		if e.records() == 0 {
			j.unreferenced = append(j.unreferenced, j.path(e.number))
			continue
		}
		s := &segment{extent: e, size: found.sizes[i]}
		s.last, s.end = e.first-1, segmentHeader
		s.grow(int(e.records()), e.end-segmentHeader)
		j.unsettled += s.unsettled
		segments = append(segments, s)
	}
	return segments
}

// truncateLast gives back the space behind the last segment's end: nothing will be written there. The manifest says where the
// end is, so this may fail.
func (j *Journal) truncateLast() {
	n := len(j.segments)
	if n == 0 || j.segments[n-1].size == j.segments[n-1].end {
		return
	}
	s := j.segments[n-1]
	err := j.truncate(s)
	if err != nil {
		j.cfg.Logger.Warn().Err(err).Uint64("segment", s.number).Msg("truncating a journal segment")
		return
	}
	s.size = s.end
	j.keep(j.segments)
}

func (j *Journal) truncate(s *segment) error {
	file, err := j.cfg.FS.Open(j.path(s.number))
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(s.end), file.Sync(), file.Close())
}
