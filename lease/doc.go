// Package lease holds the blocks of budget that a node has leased, and is the only place that spends from them.
//
// # The parts
//
//   - [Block] is the counter of one lease: atomics only, no clock, no lock, no goroutine.
//   - [Keeper] owns all blocks of the node, offer by offer. It grants ahead of need, renews, and gives back what is not used.
//   - [Want] and [Size] decide how much to ask for: pure functions.
//   - [Reaper] closes the leases of owners that fell silent, on any node, and acquits those that a later epoch has taken over.
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
// A block is sealed when it is used up, when nobody has used it until its end, in a drain, and when it is recalled.
//
// # Recall
//
// An offer has a number that rises, and each lease has the number that the offer had at its grant. A lease with a lower number
// than its offer's is recalled: its owner seals it, settles what is pending, and returns it whole, pools too, then asks anew for what
// it needs. The number rises with each change of the offer's terms, and when a node needs units that are out. So the two come down to
// one thing that an owner has to do, and the list of leases shows who has done it.
//
// An owner hears of it from a sync, and from whatever gives it a lease or lengthens one: that brings the offer, read under the row's
// lock or after the commit. So a lease that is spent from or lives longer after a recall belongs to an owner that knows of it, or a
// reader of the leases saw it after the recall, as recalled, with its end.
//
// A node that was granted too little looks at the books before it locks the offer's row again. Its own blocks may have what is missing,
// together or with what is free. Then it gathers them: it seals them, waits until they are quiet, and asks for a lease in the transaction
// that returns them. Nobody else gets their units first.
//
// While the books have units for nobody who waits, and enough are out on other nodes, it raises the number, from the one that the books
// showed: many who saw the same raise it once. No other recall follows within a second, for each takes all nodes their blocks. It looks again until somebody
// can be served; each request waits a quarter of a second for that. With nothing outstanding there is nothing to recall: a sold-out offer
// costs one read of the books in a while, and never its row's lock.
//
// # Who does what, and waits for whom
//
// Requests spend without a lock. Requests that find nothing queue for the one goroutine that asks for leases of
// their offer. Maintenance looks at all leases several times a second, which waits for nobody, and has what it finds done offer by offer, a
// bounded number of offers side by side, renewals apart from returns. No lock is held while the database is asked. So an offer
// whose rows are locked holds up no other one, and returns never hold up renewals.
//
// # Invariants
//
//   - left + pending + settled = granted, where pending is what was spent and is not settled yet.
//   - Nothing is spent after the deadline = request sent + ttl − margin. It lies before the lease's end by the database's clock.
//   - Nothing is spent from a lease with a lower number than the node knows, which is the highest that it has heard. Nor from one
//     with a higher number: the ledger has lost it, and the node has believed a lower one.
//   - One grant is under way per offer and node. Requests that find nothing to spend wait for it, in order of arrival. They are
//     served from it before any others. A waiter gets [ErrShort] only if its units were part of the grant request.
//   - The local counters only admit. The ledger says what a lease has really spent, and closing computes the rest
//     from there; so an error here can refuse a redemption, but never spend a unit twice.
//
// # Failures
//
//   - A grant that fails, or panics, fails those who wait for it; the next request starts another one.
//   - A grant whose reply is missing may have brought a lease that nobody else will ever find. It is kept, and repeated with
//     the same id before anything else is asked for, also in a drain. Requests that waited for it hear that the ledger is away: nothing
//     of theirs was redeemed.
//   - With the database away nothing is renewed; blocks stop at their deadline. When it is back, the owner renews the very same
//     leases, unless a reaper was first. A reaper leaves it as long as the outage lasted, 5 s at most, and half the lease's time to live if it
//     had not watched it before.
//   - A drain that meets a database that is away, with nothing pending, leaves the leases to the reapers after a second. As long as
//     something is pending it uses its time.
//   - The offer's number went back: the ledger has lost commits. All leases of the offer are sealed and returned. One that the ledger does
//     not have is forgotten.
//   - Leases that can't be spent from when they come, two in a row: a pause before each further grant, from 25 ms up to 2 s.
//   - A failure is logged once per offer, when it begins. The store logs that the database is away.
package lease
