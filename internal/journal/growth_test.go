package journal

import (
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// Twenty nodes that share a disk with their database start at once. A sale of some thousand redemptions must not wait for gigabytes of
// zeros.
func TestC13SegmentsBeginSmallAndGrow(t *testing.T) {
	fs := newMemFS(1)
	fs.sector = 4096
	const largest = 8 << 20
	j, err := Open(Config{Dir: testDir, FS: fs, SegmentBytes: largest, MaxPayload: 1 << 20, Now: time.Now, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	j.maintainOnce(t.Context())
	if used := fs.used(); used > firstSegmentBytes+1<<20 {
		t.Errorf("%d bytes are written before the first record", used)
	}
	var sizes []int64
	for len(sizes) < 4 {
		if _, err := j.Submit(1, make([]byte, 1<<20-1024)); err != nil {
			t.Fatal(err)
		}
		j.writeNext()
		if err := j.Err(); err != nil {
			t.Fatal(err)
		}
		if n := len(j.segments); n > len(sizes) {
			sizes = append(sizes, j.segments[n-1].size)
		}
	}
	if want := []int64{firstSegmentBytes, 2 * firstSegmentBytes, largest, largest}; !slices.Equal(sizes, want) {
		t.Errorf("segments of %v bytes, want %v", sizes, want)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}
