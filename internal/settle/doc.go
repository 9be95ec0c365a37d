// Package settle writes wanted entries into the ledger in group commits.
//
// # Queues
//
// Each lease has a queue. Its batches are numbered and run one after the other; whatever arrives while one is under way makes
// up the next, so a batch is as large as the load makes it and nobody waits for a timer. Several batches of one offer are under
// way when several of its leases are in use.
//
//	Submit ──▶ queue of the lease ──▶ batch k ──Settle──▶ verdicts ──▶ each requester
//	                    ▲                        │
//	                    └──── not settled ───────┘
//
// # What can become of a batch
//
//   - It committed: each entry has its verdict.
//   - It certainly did not (the database was away before COMMIT was sent): all its requesters hear so, and their units go back.
//   - Locks were in the way for too long: it is split, so that one stuck user holds up nobody else; a single entry is refused.
//   - The lease is closed: nothing of it was or ever will be booked. The requesters may try another lease.
//   - Unknown, because COMMIT's reply is missing: the same batch runs again, under the same number, until one of the above is known.
//     A plain read would not do, for the commit may still be on its way. The lease waits for that; other leases go on.
//
// # A request's time
//
// An entry that has waited past its deadline is not written any more. In a batch whose outcome is unknown it takes part as
// CheckOnly: if the first attempt had written it, it stands; if not, it never will.
// A requester that stops waiting withdraws its entry if no attempt has begun; else it must call the outcome unknown.
//
// # Units
//
// A redeem entry comes with units already spent from the lease's block. They become Settled with the entry, and are Unspent if there
// is none, or if it was another request's. Whatever happens, exactly one of the two is called.
package settle
