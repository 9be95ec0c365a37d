package lease

import (
	"sync/atomic"
	"time"

	"tranche/models"
)

// sealBit is taken off the counter of a sealed block. It is far above what a budget can hold, so a sealed counter is negative,
// and one compare-and-swap can look at both the rest and the seal.
const sealBit = int64(1) << 62

// Block is the in-memory counter of one lease. All methods are safe for concurrent use; none blocks or allocates.
type Block struct {
	OfferID string
	LeaseID models.ID
	Kind    models.LeaseKind
	Mode    models.Mode // the lease's: it may differ from what the offer's is by now
	Recall  int64       // the offer's number at the grant
	TTL     time.Duration

	GrantedAt models.Micros // by the database's clock

	// Batch is the number of the last batch that was settled on the lease. The settler alone reads and changes it, one batch at a time.
	Batch int64

	base     time.Time    // deadline counts from here, by the monotonic clock
	deadline atomic.Int64 // nanoseconds after base
	quiet    chan struct{}
	isQuiet  atomic.Bool

	_ [64]byte // left is written by every request, what stands around it by hardly any

	left atomic.Int64 // units that may be spent; less sealBit once sealed

	_ [56]byte

	granted atomic.Int64
	settled atomic.Int64 // units spent whose entries are in the ledger
}

// NewBlock makes the counter of a lease that was just granted. It may be spent from until deadline, by the monotonic clock.
func NewBlock(l *models.Lease, deadline time.Time) *Block {
	b := &Block{OfferID: l.OfferID, LeaseID: l.ID, Kind: l.Kind, Mode: l.Mode, Recall: l.Recall, TTL: l.TTL(), GrantedAt: l.GrantedAt, Batch: l.Batch, base: deadline, quiet: make(chan struct{})}
	b.left.Store(l.Granted - l.Spent)
	b.granted.Store(l.Granted - l.Spent)
	return b
}

// Spend takes n units, and reports whether it did: not when fewer are left, the block is sealed, or now is past the deadline.
// The units are pending until Settled or Unspend is called for them.
func (b *Block) Spend(n int64, now time.Time) bool {
	if b.ExpiredAt(now) {
		return false
	}
	for {
		left := b.left.Load()
		if left < n {
			return false
		}
		if b.left.CompareAndSwap(left, left-n) {
			return true
		}
	}
}

// Unspend gives back n pending units: their redemption was refused, or answered from an earlier one.
func (b *Block) Unspend(n int64) {
	b.left.Add(n)
	b.checkQuiet()
}

// Settled says that the entry for n pending units is in the ledger.
func (b *Block) Settled(n int64) {
	b.settled.Add(n)
	b.checkQuiet()
}

// Refund adds n units whose refund into this pool is committed.
func (b *Block) Refund(n int64) {
	b.granted.Add(n)
	b.left.Add(n)
	b.checkQuiet()
}

// Seal ends spending: once it has returned, no Spend succeeds.
func (b *Block) Seal() {
	for {
		left := b.left.Load()
		if left < 0 {
			return
		}
		if b.left.CompareAndSwap(left, left-sealBit) {
			b.checkQuiet()
			return
		}
	}
}

// Sealed reports whether spending has ended.
func (b *Block) Sealed() bool { return b.left.Load() < 0 }

// Left is what can still be spent, in units: zero once sealed.
func (b *Block) Left() int64 { return max(0, b.left.Load()) }

// Unspent is what was not spent, in units, sealed or not.
func (b *Block) Unspent() int64 { return b.granted.Load() - b.Spent() }

// Granted is what was leased, or came back into a pool, in units.
func (b *Block) Granted() int64 { return b.granted.Load() }

// Spent is what was spent, settled or not, in units. While others spend, it is a good guess, as Pending is.
func (b *Block) Spent() int64 {
	left := b.left.Load()
	if left < 0 {
		left += sealBit
	}
	return b.granted.Load() - left
}

// Pending is what was spent and is not settled yet, in units.
func (b *Block) Pending() int64 { return b.Spent() - b.settled.Load() }

// Quiet is closed when the block is sealed and nothing of it is pending.
func (b *Block) Quiet() <-chan struct{} { return b.quiet }

// checkQuiet runs after every change that can make the block quiet; whichever change is the last one sees it.
func (b *Block) checkQuiet() {
	if b.Sealed() && b.Pending() == 0 && b.isQuiet.CompareAndSwap(false, true) {
		close(b.quiet)
	}
}

// ExpiredAt reports whether now is past the deadline.
func (b *Block) ExpiredAt(now time.Time) bool { return int64(now.Sub(b.base)) > b.deadline.Load() }

// Extend moves the deadline.
func (b *Block) Extend(deadline time.Time) { b.deadline.Store(int64(deadline.Sub(b.base))) }
