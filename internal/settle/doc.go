// Package settle writes wanted entries into the ledger in group commits.
//
// # Queues
//
// Each lease with something to settle has a queue. Its batches are numbered and run one after the other. Entries that arrive while
// one is under way make up the next, so a batch is as large as the load makes it. Several batches of one offer are under way when
// several of its leases are in use.
//
//	Settle, Book ──▶ queue of the lease ──▶ batch k ──Settle──▶ verdicts ──▶ each requester
//	                       ▲                   │
//	                       └─── not decided ───┘
//
// # What can become of a batch
//
//   - It committed: each entry has its verdict.
//   - It certainly did not (the database was away, no connection was free, or the time was over, before COMMIT was sent): all its
//     requesters hear so, and their units go back.
//   - A lock was in the way: it is taken apart, see [stuck].
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
// A requester that stops waiting withdraws its entry if no attempt has begun. Else it must call the outcome unknown, and may be told
// when it is known.
//
// # Acknowledged entries
//
// An entry that is in the node's journal has to be booked, whatever happens. It has no deadline, is never refused, and is asked for
// again, with pauses, until there is a verdict. When its lease is closed meanwhile, the ledger takes it as a late entry.
//
// Nobody waits for it. So it gathers with others for 50 ms, to share a transaction; a request in the same queue ends that, and goes
// first. After an outage there may be hundreds of queues with a long backlog each: batches of acknowledged entries alone take turns, and
// so do attempts that repeat one of unknown outcome. All others run at once, and find a connection.
//
// A node that owes the ledger 262 144 entries is overloaded, and acknowledges no more until some are booked.
//
// # One stuck row
//
// After a lock wait the ledger is asked whose rows are locked; [stuck] says how. Only the entries that need these rows wait on, and
// those of the same party that come later, on all queues: until the rows are free, or their time is over. So one stuck row costs the others in
// its queue one lock wait of a second, once.
//
// A ledger that can't tell makes a batch run again in at most 64 pieces. Then one stuck row costs others in its queue two lock waits and
// 64 commits, at most. In a batch of more than 64 parties, those that share the piece of the stuck one may run out of time: they are not
// redeemed, and hear so.
//
// # Carts
//
// A cart is one transaction over leases of several offers, all or none. It has no queue and no number. A bounded number of carts run
// beside the queues.
//
// It has the same outcomes as a batch, but for two things. A refusal of one item is one of the whole. And if the outcome is
// unknown, it is the ledger that keeps the attempts apart, by the cart itself: verdicts and refusals of a later attempt hold for all before,
// any other failure tells nothing. After its requester's deadline, attempts only find out. Until it is known, its units stay pending.
//
// # Units
//
// A redeem entry, or a hold, comes with units already spent from the lease's block. They become Settled with the entry, and are
// Unspent if there is none, or if it was another request's. In each case exactly one of the two is called. The units that an entry of another
// kind gives back to the budget are added to the block when it is booked.
package settle
