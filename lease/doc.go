// Package lease holds the blocks of budget that a node has leased, and is the only place that spends from them.
//
// # The parts
//
//   - [Block] is the counter of one lease: atomics only, no clock, no lock, no goroutine.
//   - [Keeper] owns all blocks of the node, a holding per offer. It grants ahead of need, renews, and gives back what is not used.
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
// # Who does what, and waits for whom
//
// Requests spend without a lock. Those that find nothing queue in their offer's holding for the one goroutine that asks for leases
// there. Maintenance looks at all leases several times a second, which waits for nobody, and has what it finds done offer by offer, a
// bounded number of offers side by side, renewals apart from returns. No lock is held while the database is asked. So an offer
// whose rows are locked holds up no other one, and returns never hold up renewals.
//
// # Invariants
//
//   - left + pending + settled = granted, where pending is what was spent and is not settled yet.
//   - Nothing is spent after the deadline, which lies before the end that the database has in its books: it counts from before the
//     request that the database's end counts from.
//   - One grant is under way per offer and node. Whoever finds nothing to spend waits for it, in order of arrival, and is
//     served from what it brings before anybody else. Only whose units were asked for is told that there are not enough.
//   - The local counters only admit. What a lease has really spent is what the ledger says, and closing computes the rest
//     from there; so an error here can refuse a redemption, but never spend a unit twice.
//
// # Failures
//
//   - A grant that fails, or panics, fails those who wait for it; the next request starts another one.
//   - A grant whose reply is missing may have brought leases that nobody else will ever find. It is kept, and repeated with
//     the same ids before anything else is asked for, also in a drain. Those who waited for it hear that the ledger is away: nothing
//     of theirs was redeemed.
//   - With the database away nothing is renewed; blocks stop at their deadline. When it is back, the owner renews the very same
//     leases, unless a reaper was first.
//   - A drain that meets a database that is away, with nothing pending, leaves the leases to the reapers after a second. As long as
//     something is pending it uses its time.
//   - What fails is logged when it begins to, per offer, and not at each attempt. That the database is away is logged by the store.
package lease
