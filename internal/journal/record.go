package journal

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	recordHeader = 21
	recordAlign  = 8

	// maxRecordPayload is the format's own limit, whatever MaxPayload was when a record was written.
	maxRecordPayload = 1 << 20
)

// record is one that passed its checks. Its payload belongs to the buffer that it was read from.
type record struct {
	seq     uint64
	back    uint32 // its place in its group, from 1: everything up to seq−back was durable when it was written
	kind    byte
	payload []byte
}

// durable is the last sequence that was known to be durable when this record was written.
func (r record) durable() uint64 { return r.seq - uint64(r.back) }

// recordSize is what a record takes on disk.
func recordSize(payload int) int {
	return (recordHeader + payload + recordAlign - 1) &^ (recordAlign - 1)
}

// appendRecord adds a record without what only the writer knows: its sequence, its place in the group, its checksum.
func appendRecord(buf []byte, kind byte, payload []byte) []byte {
	var head [recordHeader]byte
	binary.LittleEndian.PutUint32(head[4:], uint32(len(payload)))
	head[20] = kind
	padding := recordSize(len(payload)) - recordHeader - len(payload)
	buf = append(buf, head[:]...)
	buf = append(buf, payload...)
	var zeros [recordAlign]byte
	return append(buf, zeros[:padding]...)
}

// stampRecords completes a group of records that appendRecord made, first being the sequence of its first.
func stampRecords(buf []byte, salt uint32, first uint64) {
	for back := uint32(1); len(buf) > 0; back++ {
		size := recordSize(int(binary.LittleEndian.Uint32(buf[4:])))
		rec := buf[:size:size]
		binary.LittleEndian.PutUint64(rec[8:], first+uint64(back)-1)
		binary.LittleEndian.PutUint32(rec[16:], back)
		binary.LittleEndian.PutUint32(rec, checksum(salt, rec[4:]))
		buf = buf[size:]
	}
}

// plausible looks at a record's first bytes, and gives the size that they claim. It is what a search looks at first.
func plausible(head []byte) (size int, ok bool) {
	payload := binary.LittleEndian.Uint32(head[4:])
	seq := binary.LittleEndian.Uint64(head[8:])
	back := binary.LittleEndian.Uint32(head[16:])
	if payload > maxRecordPayload || back == 0 || uint64(back) > seq {
		return 0, false // zeros end here: back is never 0
	}
	return recordSize(int(payload)), true
}

// decodeRecord checks the record that fills buf.
func decodeRecord(buf []byte, salt uint32) (record, bool) {
	if len(buf) < recordHeader {
		return record{}, false
	}
	if size, ok := plausible(buf); !ok || size != len(buf) {
		return record{}, false
	}
	if binary.LittleEndian.Uint32(buf) != checksum(salt, buf[4:]) {
		return record{}, false
	}
	end := recordHeader + int(binary.LittleEndian.Uint32(buf[4:]))
	return record{
		seq:     binary.LittleEndian.Uint64(buf[8:]),
		back:    binary.LittleEndian.Uint32(buf[16:]),
		kind:    buf[20],
		payload: buf[recordHeader:end:end],
	}, true
}

// checksum goes on from a salt, so that the same bytes in another segment don't pass.
func checksum(salt uint32, b []byte) uint32 {
	return crc32.Update(salt, crc32.MakeTable(crc32.Castagnoli), b)
}
