package store

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"tranche/models"
)

// The clocks of two nodes differ, so the list with a refund may have the lower id.
func TestAnEntryIsPlacedAfterTheEarlierOnesOfItsRedemption(t *testing.T) {
	list := func(seqs ...uint16) (l unplaced) {
		l = unplaced{OfferID: "o", ID: models.NewID()}
		for _, seq := range seqs {
			id := models.ID{0: byte(seq)}
			l.Entries = binary.BigEndian.AppendUint16(append(l.Entries, id[:]...), seq)
		}
		return l
	}
	end := feedEnd{Last: 10}
	rows := end.placing([]unplaced{list(1, 2), list(0), list(300)})
	if len(rows) != 1 || rows[0].Last != 14 || end.Last != 14 {
		t.Fatalf("%+v, and the feed ends at %d", rows, end.Last)
	}
	var seqs []byte
	for id := range slices.Chunk(rows[0].Entries, placedLength) {
		seqs = append(seqs, id[0])
	}
	if !bytes.Equal(seqs, []byte{0, 1, 2, 300 % 256}) {
		t.Errorf("seqs in the order %v", seqs)
	}
}
