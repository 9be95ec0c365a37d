package fill

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

var sample = Ledger{Offer: "o", Since: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}

// As with the service's own ids, those of later entries sort later: inserts go to the end of the index.
func TestIDsAreUUIDsInTheOrderOfTime(t *testing.T) {
	last := [16]byte{}
	for i := range int64(3000) {
		id := sample.Entry(i)
		if bytes.Compare(id[:], last[:]) <= 0 {
			t.Fatalf("%d: %x after %x", i, id, last)
		}
		if id[6]>>4 != 7 || id[8]>>6 != 2 {
			t.Fatalf("%x is no UUIDv7", id)
		}
		if id != sample.Entry(i) {
			t.Fatal("asked again, it is another one")
		}
		last = id
	}
}

func TestEntriesAreSpentFromTheLeaseOfTheirThousand(t *testing.T) {
	if sample.lease(0) != sample.lease(999) || sample.lease(999) == sample.lease(1000) {
		t.Error("a lease is not for a thousand entries")
	}
	if sample.lease(0) == sample.Entry(0) {
		t.Error("a lease and an entry have the same id")
	}
	row := string(sample.appendLease(nil, 1000, 1700))
	if !strings.Contains(row, ",1,'block','strict',700,700,700,700,60,'returned',1577836850000000,") {
		t.Errorf("the last lease, of 700: %s", row)
	}
}

func TestAnEntryIsOneRow(t *testing.T) {
	row := string(sample.appendEntry(nil, 3, 9))
	for _, want := range []string{"('o',x'", ",0,'redeem','user-0000000000", "'order-00000000003','checkout-00000000003',1,", ",1577836800150000)"} {
		if !strings.Contains(row, want) {
			t.Errorf("%s lacks %s", row, want)
		}
	}
	if values, columns := strings.Count(row, ","), strings.Count(entries, ","); values != columns {
		t.Errorf("%d commas in the values, %d in the columns", values, columns)
	}
}
