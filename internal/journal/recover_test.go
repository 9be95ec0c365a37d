package journal

import (
	"bytes"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// written makes a journal of a few segments, settled nowhere. Its last group is one of three records that takes several sectors.
func written(t *testing.T) *model {
	t.Helper()
	m := newModel(t, 1)
	m.start(0)
	for range 8 {
		for range 3 {
			m.submit()
		}
		m.write()
	}
	if len(m.j.segments) < 3 {
		t.Fatalf("only %d segments", len(m.j.segments))
	}
	if err := m.j.removeAndMark(); err != nil { // so that only the next group is not known to the manifest
		t.Fatal(err)
	}
	for i := range 3 {
		m.submitText(9, strings.Repeat(string(rune('a'+i)), 90))
	}
	m.write()
	return m
}

// lookAt reads what is in the folder.
func lookAt(fs *memFS) (map[uint64]string, error) {
	got := map[uint64]string{}
	_, err := inspect(fs, testDir, func(_ string, _ int64, rec record) error {
		got[rec.seq] = string(rec.payload)
		return nil
	})
	return got, err
}

// After an orderly end every flipped bit is found, or is one that nothing depends on.
func TestAFlippedBitIsFound(t *testing.T) {
	m := written(t)
	if err := m.j.Close(); err != nil {
		t.Fatal(err)
	}
	m.flipAll(func(name string, bit int, got map[uint64]string, err error) {
		if err == nil && !maps.Equal(got, m.ever) {
			t.Fatalf("%s, bit %d: %d records of %d, and no error", name, bit, len(got), len(m.ever))
		}
	})
}

// After a kill, the same holds but for the last group: whether it had been acknowledged can't be known.
func TestAFlippedBitIsFoundAfterAKill(t *testing.T) {
	m := written(t)
	open := m.j.open()
	openName, known := segmentName(open.number), m.j.marked
	m.fs.restart()
	lost, total := 0, 0
	m.flipAll(func(name string, bit int, got map[uint64]string, err error) {
		total++
		if err != nil || maps.Equal(got, m.ever) {
			return
		}
		lost++
		if name != openName || int64(bit/8) >= open.end {
			t.Fatalf("%s, bit %d: %d records of %d, and no error", name, bit, len(got), len(m.ever))
		}
		for seq, payload := range m.ever {
			if got[seq] != payload && seq <= known {
				t.Fatalf("%s, bit %d: record %d lost, and no error", name, bit, seq)
			}
		}
	})
	if lost == 0 || lost > 3*recordSize(90)*8 {
		t.Errorf("%d of %d flips lose a record of the last group", lost, total)
	}
}

// flipAll flips each bit of the folder, one at a time.
func (m *model) flipAll(check func(name string, bit int, got map[uint64]string, err error)) {
	for _, path := range slices.Sorted(maps.Keys(m.fs.names)) {
		data := m.fs.names[path].data
		for bit := range len(data) * 8 {
			if filepath.Base(path) == manifestName && bit/8%manifestSlot > manifestHead+4*extentSize+8 {
				continue // never read
			}
			data[bit/8] ^= 1 << (bit % 8)
			got, err := lookAt(m.fs)
			data[bit/8] ^= 1 << (bit % 8)
			check(filepath.Base(path), bit, got, err)
		}
	}
}

// A damaged copy of the manifest is no loss, and is mended.
func TestOneCopyOfTheManifestIsEnough(t *testing.T) {
	for slot := range manifestCopies {
		m := written(t)
		m.stop()
		data := m.fs.names[filepath.Join(testDir, manifestName)].data
		data[slot*manifestSlot+20] ^= 1
		m.start(0)
		m.stop()
		data = m.fs.names[filepath.Join(testDir, manifestName)].data
		data[(1-slot)*manifestSlot+20] ^= 1
		m.start(0)
	}
}

// Of a group that was being written when the power went, any sectors may be there. What is whole at its beginning stays, and the
// rest is cut, even if whole records follow.
func TestATornGroupIsCut(t *testing.T) {
	m := written(t)
	m.fs.restart()
	open := m.j.open()
	begin, end := m.j.manifestEnd(t), open.end
	node := m.fs.names[m.j.path(open.number)]
	whole := slices.Clone(node.data)
	first, sectors := begin/64, (end-1)/64-begin/64+1
	outcomes := map[int]int{}
	for subset := range 1 << sectors {
		copy(node.data, whole)
		for s := range sectors {
			if subset&(1<<s) == 0 {
				from, to := max(begin, (first+s)*64), min(end, (first+s+1)*64)
				clear(node.data[from:to])
			}
		}
		got, err := lookAt(m.fs)
		if err != nil {
			t.Fatalf("sectors %b: %v", subset, err)
		}
		n := len(m.ever) - len(got)
		for seq := range m.ever {
			if (got[seq] != "") != (seq <= m.last-uint64(n)) {
				t.Fatalf("sectors %b: %d records, and %d is among them: %v", subset, len(got), seq, got[seq] != "")
			}
		}
		outcomes[n]++
	}
	if len(outcomes) != 4 || outcomes[0] == 0 {
		t.Errorf("lost records: %v, all from none to 3 should be seen", outcomes)
	}
}

func (j *Journal) manifestEnd(t *testing.T) int64 {
	t.Helper()
	s, err := inspect(j.cfg.FS, j.cfg.Dir, ignore)
	if err != nil {
		t.Fatal(err)
	}
	return s.manifest.extents[len(s.manifest.extents)-1].end
}

// With a group after it, damage to a group is no torn tail, whatever the damage looks like; zeros too.
func TestDamageBeforeALaterGroupIsCorruption(t *testing.T) {
	m := written(t)
	begin := m.j.manifestEnd(t)
	cut := m.j.open().end
	m.submitText(1, "z")
	m.write()
	open := m.j.open()
	if open.end != cut+int64(recordSize(1)) {
		t.Fatal("the later group is in another segment")
	}
	m.fs.restart()
	node := m.fs.names[m.j.path(open.number)]
	for _, fill := range []byte{0, 0xff, 0x55} {
		for from := begin; from < cut; from += 8 {
			saved := slices.Clone(node.data)
			for i := from; i < cut; i++ {
				node.data[i] = fill
			}
			_, err := lookAt(m.fs)
			var at *CorruptError
			if !errors.As(err, &at) || at.File != segmentName(open.number) || at.Offset > from || at.Offset < begin {
				t.Fatalf("bytes %d to %d overwritten: %v", from, cut, err)
			}
			copy(node.data, saved)
		}
	}
}

func TestWhatIsMissingOrWrongIsCorruption(t *testing.T) {
	path := func(m *model, i int) string { return m.j.path(m.j.segments[i].number) }
	manifest := filepath.Join(testDir, manifestName)
	for name, c := range map[string]struct {
		damage func(m *model)
		want   error
	}{
		"oldest segment":    {func(m *model) { delete(m.fs.names, path(m, 0)) }, ErrCorrupt},
		"segment between":   {func(m *model) { delete(m.fs.names, path(m, 1)) }, ErrCorrupt},
		"newest segment":    {func(m *model) { delete(m.fs.names, path(m, len(m.j.segments)-1)) }, ErrCorrupt},
		"all segments":      {func(m *model) { clear(m.fs.names); m.fs.names[manifest] = m.fs.durable[manifest] }, ErrCorrupt},
		"manifest":          {func(m *model) { delete(m.fs.names, manifest) }, ErrCorrupt},
		"manifest is empty": {func(m *model) { m.fs.names[manifest].data = nil }, ErrCorrupt},
		"segments swapped": {func(m *model) {
			a, b := path(m, 0), path(m, 1)
			m.fs.names[a], m.fs.names[b] = m.fs.names[b], m.fs.names[a]
		}, ErrCorrupt},
		"empty segment":      {func(m *model) { m.fs.names[path(m, 1)].data = nil }, ErrCorrupt},
		"half a header":      {func(m *model) { m.fs.names[path(m, 1)].data = m.fs.names[path(m, 1)].data[:40] }, ErrCorrupt},
		"cut short":          {func(m *model) { n := m.fs.names[path(m, 1)]; n.data = n.data[:m.j.segments[1].end-1] }, ErrCorrupt},
		"open one cut short": {func(m *model) { n := m.fs.names[path(m, len(m.j.segments)-1)]; n.data = n.data[:testSegment-1] }, ErrCorrupt},
		"a used segment that nobody named": {func(m *model) {
			m.fs.names[filepath.Join(testDir, segmentName(99))] = m.fs.names[path(m, 1)]
		}, ErrCorrupt},
		"newer segment":  {func(m *model) { newer(m.fs.names[path(m, 1)].data) }, ErrVersion},
		"newer manifest": {func(m *model) { newer(m.fs.names[manifest].data) }, ErrVersion},
	} {
		t.Run(name, func(t *testing.T) {
			m := written(t)
			m.fs.restart()
			c.damage(m)
			before := maps.Clone(m.fs.names)
			if _, err := Open(m.config()); !errors.Is(err, c.want) {
				t.Errorf("open: %v", err)
			}
			if !maps.Equal(before, m.fs.names) {
				t.Error("a journal that can't be opened was changed")
			}
		})
	}
}

// newer makes the head of a file one of the next version.
func newer(b []byte) {
	copy(b, encodePrefix(string(b[:8])))
	b[8] = version + 1
	sum := checksum(0, b[:12])
	b[12], b[13], b[14], b[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
}

// What a crash leaves of a segment in the making is dropped, and its number is not a hole.
func TestAHalfMadeSegmentIsDropped(t *testing.T) {
	for _, data := range [][]byte{nil, make([]byte, 10), make([]byte, testSegment), encodeHeader(extent{number: 50}, testSegment)} {
		m := written(t)
		if err := m.j.Close(); err != nil {
			t.Fatal(err)
		}
		stray := filepath.Join(testDir, segmentName(50))
		m.fs.names[stray] = &inode{data: data}
		m.start(0)
		if m.fs.names[stray] != nil {
			t.Errorf("%d bytes are still there", len(data))
		}
		m.submit()
		m.write()
		m.stop()
		m.start(0)
	}
}

// A file that nothing refers to may be impossible to remove. Its number is not used again then.
func TestAFileThatStaysIsInNobodysWay(t *testing.T) {
	opened := 0
	for call := 1; ; call++ {
		m := written(t)
		if err := m.j.Close(); err != nil {
			t.Fatal(err)
		}
		stray := filepath.Join(testDir, segmentName(m.j.nextSegment))
		m.fs.names[stray] = &inode{}
		m.fs.failAt = m.fs.calls + call
		j, err := Open(m.config())
		m.noCorruption(err)
		if err != nil {
			continue
		}
		opened++
		m.j = j
		struck := m.fs.calls >= m.fs.failAt
		m.fs.failAt = 0
		if !m.checkReplay() {
			t.Fatal("not replayed")
		}
		m.submit()
		m.write()
		if m.j.Err() != nil {
			t.Fatalf("call %d fails: %v", call, m.j.Err())
		}
		if !struck {
			break
		}
	}
	if opened < 2 {
		t.Error("a file that can't be removed keeps the journal from being opened")
	}
}

// Records of another journal are sound in their own place only, even if number, sequence and offset fit.
func TestRecordsOfAnotherSegmentAreNoRecords(t *testing.T) {
	m, other := written(t), written(t)
	for i, s := range m.j.segments {
		node, foreign := m.fs.names[m.j.path(s.number)], other.fs.names[other.j.path(s.number)]
		saved := slices.Clone(node.data)
		copy(node.data[segmentHeader:], foreign.data[segmentHeader:])
		if bytes.Equal(node.data, saved) {
			t.Fatal("the same bytes in both")
		}
		if _, err := lookAt(m.fs); !errors.Is(err, ErrCorrupt) {
			t.Errorf("segment %d of %d with the records of another: %v", i+1, len(m.j.segments), err)
		}
		copy(node.data, saved)
	}
}

func TestScanSaysWhereTheDamageIs(t *testing.T) {
	m := written(t)
	m.fs.restart()
	all, err := scan(m.fs, testDir, func(Record) error { return nil })
	if err != nil || all.Records != int64(len(m.ever)) || all.First != 1 || all.Last != m.last || all.Segments != len(m.j.segments) || all.Torn != nil {
		t.Fatalf("%+v, %v", all, err)
	}
	open := m.j.open()
	last := m.fs.names[m.j.path(open.number)].data
	last[open.end+16] = 1
	if r, err := scan(m.fs, testDir, func(Record) error { return nil }); err != nil || r.Torn == nil || r.Torn.Offset != open.end {
		t.Errorf("%+v, %v", r, err)
	}
	var records []Record
	if _, err := scan(m.fs, testDir, func(r Record) error { records = append(records, r); return nil }); err != nil {
		t.Fatal(err)
	}
	damaged := records[len(records)/2]
	m.fs.names[filepath.Join(testDir, damaged.Segment)].data[damaged.Offset+recordHeader] ^= 4
	r, err := scan(m.fs, testDir, func(Record) error { return nil })
	var at *CorruptError
	if !errors.As(err, &at) || at.File != damaged.Segment || at.Offset != damaged.Offset || r.Last != damaged.Seq-1 {
		t.Errorf("record %d at %s:%d damaged: %+v, %v", damaged.Seq, damaged.Segment, damaged.Offset, r, err)
	}
	stop := errors.New("enough")
	if _, err := scan(m.fs, testDir, func(Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error became %v", err)
	}
	if _, err := Scan(t.TempDir(), func(Record) error { return nil }); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
}
