package journal

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
)

const benchPayload = 200

// What an append costs with so many at once, beside the bare loop that it can't be faster than: whoever waits has its bytes
// copied together, written and synced on a file that was filled before.
func BenchmarkAppend(b *testing.B) {
	for _, appenders := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("journal/%d", appenders), func(b *testing.B) {
			j := run(b, Config{Dir: filepath.Join(b.TempDir(), "journal")})
			payload := make([]byte, benchPayload)
			appendAll(b, appenders, func() error {
				seq, err := j.Append(b.Context(), 1, payload)
				j.Settled(seq)
				return err
			})
		})
		b.Run(fmt.Sprintf("bare/%d", appenders), func(b *testing.B) {
			l := newBareLog(b)
			payload := make([]byte, benchPayload)
			appendAll(b, appenders, func() error { return l.append(payload) })
		})
	}
}

func appendAll(b *testing.B, appenders int, one func() error) {
	if err := one(); err != nil { // makes the first segment
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for i := range appenders {
		group.Go(func() {
			for n := i; n < b.N; n += appenders {
				if err := one(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// bareLog is the same without records, checksums, bounds, rotation or recovery.
type bareLog struct {
	file   File
	size   int64
	mu     sync.Mutex
	buf    []byte
	done   chan error
	wake   chan struct{}
	offset int64
}

func newBareLog(b *testing.B) *bareLog {
	file, err := osFS{}.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	l := &bareLog{file: file, size: 64 << 20, done: make(chan error), wake: make(chan struct{}, 1)}
	if _, err := file.WriteAt(make([]byte, l.size), 0); err != nil {
		b.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		b.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(l.loop)
	b.Cleanup(func() {
		close(l.wake)
		group.Wait()
		if err := file.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

func (l *bareLog) append(payload []byte) error {
	l.mu.Lock()
	l.buf = append(l.buf, payload...)
	done := l.done
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return <-done
}

// loop has no failures to hand out: it panics.
func (l *bareLog) loop() {
	var free []byte
	for range l.wake {
		l.mu.Lock()
		buf, done := l.buf, l.done
		l.buf, l.done = free[:0], make(chan error)
		l.mu.Unlock()
		if l.offset+int64(len(buf)) > l.size {
			l.offset = 0
		}
		if _, err := l.file.WriteAt(buf, l.offset); err != nil {
			panic(err)
		}
		if err := l.file.Sync(); err != nil {
			panic(err)
		}
		l.offset += int64(len(buf))
		free = buf
		close(done)
	}
}
