package journal

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestRecordsComeBackAsTheyWere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		salt := rapid.Uint32().Draw(t, "salt")
		first := rapid.Uint64Range(1, 1<<60).Draw(t, "first")
		kinds := rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "kinds")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 300)
		var buf []byte
		payloads := make([][]byte, len(kinds))
		for i, kind := range kinds {
			payloads[i] = payload.Draw(t, "payload")
			buf = appendRecord(buf, kind, payloads[i])
		}
		stampRecords(buf, salt, first)
		for i, kind := range kinds {
			size := recordSize(len(payloads[i]))
			rec, ok := decodeRecord(buf[:size], salt)
			if !ok || rec.seq != first+uint64(i) || rec.durable() != first-1 || rec.kind != kind || !bytes.Equal(rec.payload, payloads[i]) {
				t.Fatalf("record %d: %+v, %v", i, rec, ok)
			}
			if _, ok := decodeRecord(buf[:size], salt+1); ok {
				t.Fatal("passes in another segment")
			}
			buf = buf[size:]
		}
		if len(buf) != 0 {
			t.Fatalf("%d bytes too many", len(buf))
		}
	})
}

// The layout is what doc.go says it is: a change of it is a new version.
func TestTheFormatStaysAsItIs(t *testing.T) {
	buf := appendRecord(nil, 7, []byte("abcd"))
	stampRecords(buf, 0x01020304, 0x1122)
	want := []byte{0, 0, 0, 0, 4, 0, 0, 0, 0x22, 0x11, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 'a', 'b', 'c', 'd', 0, 0, 0, 0, 0, 0, 0}
	binary.LittleEndian.PutUint32(want, crc32.Update(0x01020304, crc32.MakeTable(crc32.Castagnoli), want[4:]))
	if !bytes.Equal(buf, want) {
		t.Errorf("record\n%x, not\n%x", buf, want)
	}
	head := encodeHeader(extent{number: 3, id: [16]byte{9, 8}}, 0x400)
	if string(head[:8]) != "TranchSg" || head[8] != 1 || head[16] != 3 || head[25] != 4 || head[32] != 9 || head[33] != 8 || len(head) != 64 {
		t.Errorf("header %x", head)
	}
	p := contents{
		stamp: 5, nextSeq: 10, nextSegment: 4,
		extents: []extent{{number: 2, id: [16]byte{1}, first: 3, last: 6, end: 200, sealed: true}, {number: 3, first: 7, last: 9, end: 100}},
	}
	b := p.encode()
	if len(b) != 48+2*56+4 {
		t.Errorf("a manifest of %d bytes", len(b))
	}
	if got, err := decodeContents(b); err != nil || !slices.Equal(got.extents, p.extents) || got.stamp != 5 || got.nextSeq != 10 || got.nextSegment != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeContents(b); err == nil {
			t.Fatalf("bit %d of a manifest flipped, and not found", i)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

func TestZerosAreNoRecord(t *testing.T) {
	for size := range 64 {
		for _, salt := range []uint32{0, 1, 0xffffffff} {
			if rec, ok := decodeRecord(make([]byte, size), salt); ok {
				t.Fatalf("%d zeros are %+v", size, rec)
			}
		}
	}
}

// FuzzDecode reads any bytes as a segment. Whatever they are: no panic, and no record that was not written.
func FuzzDecode(f *testing.F) {
	e := extent{number: 1, id: [16]byte{1, 2, 3}, first: 5, last: 4, end: segmentHeader}
	var good []byte
	for i, text := range []string{"", "one", "another that is longer than eight bytes"} {
		one := appendRecord(nil, byte(i), []byte(text))
		stampRecords(one, e.salt(), 5+uint64(i))
		good = append(good, one...)
	}
	group := appendRecord(appendRecord(nil, 1, []byte("a")), 2, []byte("b"))
	stampRecords(group, e.salt(), 8)
	good = append(good, group...)
	f.Add(good, int64(len(good)))
	f.Add(append(slices.Clone(good), make([]byte, 100)...), int64(0))
	f.Add(append(append(slices.Clone(good[:40]), make([]byte, 60)...), good...), int64(24))
	f.Add(slices.Concat(good[:24], good[48:]), int64(24)) // sound, but one is missing between
	f.Add([]byte{}, int64(0))
	f.Add(bytes.Repeat([]byte{0xff}, 300), int64(-1))
	f.Fuzz(func(t *testing.T, data []byte, end int64) {
		file := append(encodeHeader(e, segmentHeader), data...)
		for _, sealed := range []bool{false, true} {
			known := e
			if known.sealed = sealed; sealed {
				known.end = segmentHeader + end
			}
			r := segmentReader{cursor: newCursor(bytes.NewReader(file), int64(len(file))), path: "x", extent: known}
			next := e.first
			got, err := r.read(func(_ string, offset int64, rec record) error {
				size := int64(recordSize(len(rec.payload)))
				raw := file[offset : offset+size]
				if sum := crc32.Update(e.salt(), crc32.MakeTable(crc32.Castagnoli), raw[4:]); sum != binary.LittleEndian.Uint32(raw) {
					t.Fatalf("record %d at %d has a wrong checksum", rec.seq, offset)
				}
				if rec.seq != next {
					t.Fatalf("record %d instead of %d", rec.seq, next)
				}
				next++
				return nil
			})
			if err == nil && (got.last+1 != next || got.end > int64(len(file)) || sealed && got.end != known.end) {
				t.Fatalf("%+v after record %d of %d bytes", got, next-1, len(file))
			}
		}
	})
}
