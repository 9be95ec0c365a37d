// Package settle writes wanted entries into the ledger in group commits.
//
// # Queues
//
// Each lease has a queue. Its batches are numbered and run one after the other; whatever arrives while one is under way makes
// up the next, so a batch is as large as the load makes it and nobody waits for a timer. Several batches of one offer are under
// way when several of its leases are in use.
//
//	Settle, Book ──▶ queue of the lease ──▶ batch k ──Settle──▶ verdicts ──▶ each requester
//	                       ▲                   │
//	                       └─── not decided ───┘
//
// Entries that somebody waits for go first, and so do holds, which will be confirmed or cancelled soon, on any node: a backlog, of a burst
// or an outage, may take seconds. A batch has room for both.
//
// # What can become of a batch
//
//   - It committed: each entry has its verdict.
//   - It certainly did not (the database was away, no connection was free, or the time was over, before COMMIT was sent): all its
//     requesters hear so, and their units go back.
//   - A lock was in the way: it is taken apart, see below.
//   - The lease is closed: nothing of it was or ever will be booked. The requesters may try another lease.
//   - Unknown, because COMMIT's reply is missing: the same batch runs again, under the same number, until one of the above is known.
//     A plain read would not do, for the commit may still be on its way. The lease waits for that; other leases go on.
//
// # A request's time
//
// An entry that has waited past its deadline is not written any more. The first attempt at a batch ends with the latest deadline
// among its entries, and the ledger sends no COMMIT after that. In a batch whose outcome is unknown, a late entry takes part as
// CheckOnly: if an earlier attempt had written it, it stands; if not, it never will.
//
// A requester that stops waiting withdraws its entry if no attempt has begun; else it must call the outcome unknown, and may be told
// when it is known.
//
// # One stuck row
//
// A user's row, or a redemption's, may be locked by a client that has stopped. The ledger gives up after one lock wait, and can't say
// whose row it was. Those who may be it, all entries with the same user where users are limited, else with the same redemption, are a
// party. A batch that met a lock runs again at once, in at most 64 pieces of whole parties. A piece that meets it again goes behind
// everything else, party by party. A party that is alone with the lock is refused, and for 5 s its next entries run apart, when
// nobody else waits.
//
// So one stuck row costs others in its queue two lock waits and 64 commits, at most: with waits of 2 s, and commits within 15 ms, less
// than the 5 s of a request. In a batch of more than 64 parties, those that share the piece of the stuck one, 1/64 of the batch, may
// run out of time: they are not redeemed, and hear so. Several stuck rows cost one lock wait each. Other queues don't notice.
//
// # Carts
//
// A cart is one transaction over leases of several offers, all or none. It has no queue and no number. It runs beside the queues, as soon as
// it has its turn: at most cartsAtOnce run on a node, so that connections are left for the batches. One whose outcome is unknown takes a
// turn for each further attempt.
//
// What can become of it is what can become of a batch, but for two things. A refusal of one item is one of the whole. And if the outcome is
// unknown, it is the ledger that keeps the attempts apart, by the cart itself: verdicts and refusals of a later attempt hold for all before,
// any other failure tells nothing. After its requester's deadline, attempts only find out. Until it is known, its units stay pending.
//
// # What was acknowledged already
//
// Nobody waits for it, so it gathers for a moment: fewer transactions and fsyncs for the same entries leave more of the machine to those
// who do wait. One who does ends the gathering.
//
// In a burst, a fast offer's waits for longer: while many entries come in, and goroutines have to wait for a processor, settling yields to
// requests. The journal takes the burst up, and what it costs to settle it is spent when it is over. What lasts longer than ten seconds is
// settled meanwhile, one whole batch after the other, until there was calm for a second. A node that owes maxYielding entries doesn't yield.
//
// Nor does a queue in which somebody may miss something: a hold; a refund pool's; an entry that somebody waits for; a lease that was recalled,
// or of whose redemptions one is asked for on this node (what asks may have to ask again: it waits for all that its lease had acknowledged
// before); what a journal brings at the start.
//
// Then there may be hundreds of queues with a long backlog each, one for each lease. Batches that nobody waits for take turns:
// bookingsAtOnce run on a node, in the order in which they asked; of whole ones, while the burst lasts, backlogsAtOnce. So do batches that run again because their outcome is unknown, as all may
// have to when a database comes back. All others run at once, and find a connection.
//
// An entry that is in the node's journal has to be booked, whatever happens. It has no deadline, is never refused, and is asked for
// again, with pauses, until there is a verdict. When its lease is closed meanwhile, the ledger takes it as a late entry;
// the queue need not know.
//
// # Units
//
// A redeem entry, or a hold, comes with units already spent from the lease's block. They become Settled with the entry, and are
// Unspent if there is none, or if it was another request's. Whatever happens, exactly one of the two is called. What an entry of another
// kind gives back to the budget, as far as it does, is added to the block when it is booked.
package settle
