package journal

import "path/filepath"

// Record is one of a journal that is looked at from outside.
type Record struct {
	Segment string // the file's name
	Offset  int64
	Seq     uint64
	Kind    byte
	Payload []byte // valid during the call that it was passed to
}

// Report sums up a journal.
type Report struct {
	Segments int
	Records  int64
	Bytes    int64  // of the records
	First    uint64 // sequences; 0: there is no record
	Last     uint64
	// Torn is where the last group breaks off, if it does: an open segment that has something behind its last record. The rest
	// there was never acknowledged, or it was a moment before the end, and has been damaged since.
	Torn *Place
}

// Place is where something was found.
type Place struct {
	Segment string
	Offset  int64
}

// Scan reads a journal that no process has open, and changes nothing. It calls visit with each record in order, up to the first
// damage, which it gives as a *CorruptError; the report then covers what came before. An error of visit ends it too.
func Scan(dir string, visit func(Record) error) (Report, error) {
	return scan(osFS{}, dir, visit)
}

func scan(fsys FS, dir string, visit func(Record) error) (Report, error) {
	var r Report
	seen := ""
	found, err := inspect(fsys, dir, func(path string, offset int64, rec record) error {
		if path != seen {
			seen = path
			r.Segments++
		}
		if r.Records == 0 {
			r.First = rec.seq
		}
		r.Last = rec.seq
		r.Records++
		r.Bytes += int64(recordSize(len(rec.payload)))
		return visit(Record{Segment: filepath.Base(path), Offset: offset, Seq: rec.seq, Kind: rec.kind, Payload: rec.payload})
	})
	if err != nil {
		return r, err
	}
	r.Segments = len(found.segments)
	r.Torn, err = found.torn(fsys, dir)
	return r, err
}

// torn looks behind the end of the open segment.
func (s *survey) torn(fsys FS, dir string) (*Place, error) {
	n := len(s.segments)
	if n == 0 || s.segments[n-1].sealed {
		return nil, nil
	}
	e := s.segments[n-1]
	file, err := fsys.OpenRead(filepath.Join(dir, segmentName(e.number)))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	clean, err := newCursor(file, s.sizes[n-1]).zeros(e.end)
	if err != nil || clean {
		return nil, err
	}
	return &Place{Segment: segmentName(e.number), Offset: e.end}, nil
}
