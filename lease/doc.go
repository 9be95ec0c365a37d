// Package lease holds the blocks of budget that a node has leased, and is the only place that spends from them.
//
// # The parts
//
//   - [Block] is the counter of one lease: atomics only, no clock, no lock, no goroutine.
//   - [Keeper] owns all blocks of the node. It grants ahead of need, renews, and gives back what is not used.
//   - [Size] and [Split] decide how much to ask for: pure functions.
//   - [Reaper] closes the leases of owners that fell silent, on any node.
//
// # A lease's life on its owner
//
//	granted ──▶ open ──seal──▶ sealed ──all settled──▶ quiet ──close──▶ gone
//	              │                                        ▲
//	              └── the database says it is closed ──────┘ (lost: nothing is left to give back)
//
// An open block is spent from. A sealed one is not, ever again, but what was spent from it may still be on its way into
// the ledger. When that has arrived, or was given up, it is quiet, and closing its lease returns exactly the rest.
//
// # Invariants
//
//   - left + pending + settled = granted, where pending is what was spent and is not settled yet.
//   - Nothing is spent after the deadline, which lies before the end that the database has in its books.
//   - One grant is under way per offer and node. Whoever finds nothing to spend waits for it, in order of arrival, and is
//     served from what it brings before anybody else.
//   - The local counters only admit. What a lease has really spent is what the ledger says, and closing computes the rest
//     from there; so an error here can refuse a redemption, but never spend a unit twice.
//
// # Failures
//
//   - A grant that fails, or panics, fails those who wait for it; the next request starts another one.
//   - A grant whose reply was lost is repeated with the same lease ids by the store.
//   - With the database away nothing is renewed; blocks stop at their deadline. When it is back, the owner renews the very same
//     leases, unless a reaper was first.
package lease
