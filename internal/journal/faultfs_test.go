package journal

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

var errPower = errors.New("the power is gone")

// memFS is a file system in memory with all that a disk may do:
//
//   - a crash keeps what was synced; of every other sector it keeps any of the versions written since, each sector for itself,
//     and of each directory entry any of its states since;
//   - the call number failAt fails: a write may be done in part, an fsync may have synced any of the sectors, and the rest is then
//     taken for clean, so that a later fsync "succeeds" without writing it;
//   - with cutAt, that call and all after it fail, as the last ones before a crash do;
//   - it holds no more than capacity;
//   - with noFiles, nothing can be opened or made.
type memFS struct {
	mu       sync.Mutex
	rng      *rand.Rand
	sector   int
	names    map[string]*inode
	durable  map[string]*inode
	pending  map[string][]*inode // what a name has stood for since its directory was synced
	boot     int                 // handles of an earlier one are dead
	capacity int64               // 0: no bound
	noFiles  bool                // the process has no file descriptor left
	calls    int
	failAt   int // 0: never
	cutAt    int
}

type inode struct {
	data    []byte
	durable []byte
	dirty   map[int][][]byte // sector → what was written to it since the last sync
	sizes   []int
}

func newMemFS(seed uint64) *memFS {
	return &memFS{
		rng: rand.New(rand.NewPCG(seed, 1)), sector: 64,
		names: map[string]*inode{}, durable: map[string]*inode{}, pending: map[string][]*inode{},
	}
}

// call counts, and says whether this one fails. mu is held.
func (m *memFS) call() error {
	m.calls++
	if m.cutAt > 0 && m.calls >= m.cutAt {
		return errPower
	}
	if m.calls == m.failAt {
		return syscall.EIO
	}
	return nil
}

// crash is a power cut and a start.
func (m *memFS) crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(m.pending)) {
		states := m.pending[name]
		if i := m.rng.IntN(len(states) + 1); i < len(states) {
			m.durable[name] = states[i]
		}
	}
	m.names = map[string]*inode{}
	for _, name := range slices.Sorted(maps.Keys(m.durable)) {
		if node := m.durable[name]; node != nil {
			m.lose(node)
			node.data = slices.Clone(node.durable)
			m.names[name] = node
		}
	}
	m.durable = maps.Clone(m.names)
	m.pending = map[string][]*inode{}
	m.boot++
	m.cutAt, m.failAt = 0, 0
}

// restart is the end of a process: the page cache stays.
func (m *memFS) restart() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.boot++
	m.cutAt, m.failAt = 0, 0
}

// lose brings any of the states of what was not synced to the disk, sector by sector, and forgets that it was dirty.
func (m *memFS) lose(node *inode) {
	size := len(node.durable)
	if n := len(node.sizes); n > 0 {
		if i := m.rng.IntN(n + 1); i < n {
			size = node.sizes[i]
		}
	}
	node.durable = resized(node.durable, size)
	for _, sector := range slices.Sorted(maps.Keys(node.dirty)) {
		versions := node.dirty[sector]
		if i := m.rng.IntN(len(versions) + 1); i < len(versions) && sector*m.sector < size {
			copy(node.durable[sector*m.sector:], versions[i])
		}
	}
	node.dirty, node.sizes = nil, nil
}

func resized(b []byte, size int) []byte {
	if size <= len(b) {
		return b[:size:size]
	}
	return append(b, make([]byte, size-len(b))...)
}

func (m *memFS) set(name string, node *inode) {
	if node == nil {
		delete(m.names, name)
	} else {
		m.names[name] = node
	}
	m.pending[name] = append(m.pending[name], node)
}

func (m *memFS) used() (n int64) {
	for _, node := range m.names {
		n += int64(len(node.data))
	}
	return n
}

func (m *memFS) MakeDir(string) error { return m.locked(func() error { return nil }) }

// locked runs one call under the lock, unless it is to fail.
func (m *memFS) locked(do func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call(); err != nil {
		return err
	}
	return do()
}

// opening is locked for a call that takes a file descriptor.
func (m *memFS) opening(do func() error) error {
	return m.locked(func() error {
		if m.noFiles {
			return syscall.EMFILE
		}
		return do()
	})
}

func (m *memFS) List(dir string) (names []string, err error) {
	return names, m.locked(func() error {
		for name := range m.names {
			if filepath.Dir(name) == dir {
				names = append(names, filepath.Base(name))
			}
		}
		slices.Sort(names)
		return nil
	})
}

func (m *memFS) Create(path string) (f File, err error) {
	return f, m.opening(func() error {
		if m.names[path] != nil {
			return fs.ErrExist
		}
		node := &inode{}
		m.set(path, node)
		f = &memFile{fs: m, node: node, boot: m.boot}
		return nil
	})
}

func (m *memFS) Open(path string) (f File, err error) {
	return f, m.opening(func() error {
		node := m.names[path]
		if node == nil {
			return fs.ErrNotExist
		}
		f = &memFile{fs: m, node: node, boot: m.boot}
		return nil
	})
}

func (m *memFS) OpenRead(path string) (File, error) { return m.Open(path) }

func (m *memFS) Rename(from, to string) error {
	return m.locked(func() error {
		node := m.names[from]
		if node == nil {
			return fs.ErrNotExist
		}
		m.set(to, node)
		m.set(from, nil)
		return nil
	})
}

func (m *memFS) Remove(path string) error {
	return m.locked(func() error {
		if m.names[path] == nil {
			return fs.ErrNotExist
		}
		m.set(path, nil)
		return nil
	})
}

func (m *memFS) OpenDir(string) (Dir, error) {
	return &memDir{m, m.boot}, m.opening(func() error { return nil })
}

type memDir struct {
	fs   *memFS
	boot int
}

func (d *memDir) Sync() error {
	return d.fs.locked(func() error {
		if d.boot != d.fs.boot {
			return fs.ErrClosed
		}
		d.fs.durable, d.fs.pending = maps.Clone(d.fs.names), map[string][]*inode{}
		return nil
	})
}

func (d *memDir) Close() error { return nil }

type memFile struct {
	fs   *memFS
	node *inode
	boot int
}

// locked is for a call of a file that is open.
func (f *memFile) locked(do func() error) error {
	return f.fs.locked(func() error {
		if f.boot != f.fs.boot {
			return fs.ErrClosed
		}
		return do()
	})
}

func (f *memFile) ReadAt(b []byte, offset int64) (n int, err error) {
	return n, f.locked(func() error {
		if offset >= int64(len(f.node.data)) {
			return io.EOF
		}
		if n = copy(b, f.node.data[offset:]); n < len(b) {
			return io.EOF
		}
		return nil
	})
}

func (f *memFile) WriteAt(b []byte, offset int64) (n int, err error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.boot != f.fs.boot {
		return 0, fs.ErrClosed
	}
	err = f.fs.call()
	if err != nil {
		b = b[:f.fs.rng.IntN(len(b)+1)] // in part
	}
	if grown := offset + int64(len(b)) - int64(len(f.node.data)); f.fs.capacity > 0 && grown > 0 {
		if room := max(0, f.fs.capacity-f.fs.used()); grown > room {
			b = b[:max(0, int64(len(b))-(grown-room))]
			err = syscall.ENOSPC
		}
	}
	f.put(b, int(offset))
	return len(b), err
}

func (f *memFile) put(b []byte, offset int) {
	if len(b) == 0 {
		return
	}
	f.resize(max(len(f.node.data), offset+len(b)))
	copy(f.node.data[offset:], b)
	if f.node.dirty == nil {
		f.node.dirty = map[int][][]byte{}
	}
	size := f.fs.sector
	from := offset / size * size
	to := min(len(f.node.data), (offset+len(b)+size-1)/size*size)
	written := slices.Clone(f.node.data[from:to])
	for at := from; at < to; at += size {
		f.node.dirty[at/size] = append(f.node.dirty[at/size], written[at-from:min(to, at+size)-from])
	}
}

func (f *memFile) resize(size int) {
	if size != len(f.node.data) {
		f.node.data = resized(f.node.data, size)
		f.node.sizes = append(f.node.sizes, size)
	}
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.boot != f.fs.boot {
		return fs.ErrClosed
	}
	if err := f.fs.call(); err != nil {
		f.fs.lose(f.node) // what did not reach the disk counts as clean now
		return err
	}
	f.node.durable = resized(f.node.durable, len(f.node.data))
	for sector := range f.node.dirty {
		from := sector * f.fs.sector
		if from < len(f.node.data) {
			copy(f.node.durable[from:min(len(f.node.data), from+f.fs.sector)], f.node.data[from:])
		}
	}
	f.node.dirty, f.node.sizes = nil, nil
	return nil
}

func (f *memFile) Allocate(size int64) error {
	return f.locked(func() error {
		if grown := size - int64(len(f.node.data)); f.fs.capacity > 0 && f.fs.used()+grown > f.fs.capacity {
			return syscall.ENOSPC
		}
		f.resize(max(len(f.node.data), int(size)))
		return nil
	})
}

func (f *memFile) Truncate(size int64) error {
	return f.locked(func() error { f.resize(int(size)); return nil })
}

func (f *memFile) Size() (size int64, err error) {
	return size, f.locked(func() error { size = int64(len(f.node.data)); return nil })
}

// Named is no call that can fail: it asks nothing of the disk.
func (f *memFile) Named() (named bool, err error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	for _, node := range f.fs.names {
		named = named || node == f.node
	}
	return named, nil
}

func (f *memFile) Close() error { return f.fs.locked(func() error { return nil }) }
