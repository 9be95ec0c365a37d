package allocator_test

import (
	"bytes"
	"context"
	"maps"
	"sync"
)

// testJournal is a journal in memory. It outlives the process that wrote it.
type testJournal struct {
	mu      sync.Mutex
	last    uint64
	records map[uint64]journalRecord
	broken  error // what Append answers instead
	keeps   bool  // whether it has written all the same
}

type journalRecord struct {
	kind    byte
	payload []byte
}

func (j *testJournal) Append(_ context.Context, kind byte, payload []byte) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.broken != nil && !j.keeps {
		return 0, j.broken
	}
	if j.records == nil {
		j.records = map[uint64]journalRecord{}
	}
	j.last++
	j.records[j.last] = journalRecord{kind, bytes.Clone(payload)}
	return j.last, j.broken
}

func (j *testJournal) Settled(seqs ...uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, seq := range seqs {
		delete(j.records, seq)
	}
}

func (j *testJournal) Replay(each func(seq uint64, kind byte, payload []byte) error) error {
	j.mu.Lock()
	records, last := maps.Clone(j.records), j.last
	j.mu.Unlock()
	for seq := range last + 1 {
		if r, ok := records[seq]; ok {
			if err := each(seq, r.kind, r.payload); err != nil {
				return err
			}
		}
	}
	return nil
}

func (j *testJournal) backlog() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.records)
}

// copy is the disk as it is now.
func (j *testJournal) copy() *testJournal {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &testJournal{last: j.last, records: maps.Clone(j.records)}
}
