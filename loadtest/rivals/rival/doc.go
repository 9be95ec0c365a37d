// Package rival holds the usual ways to keep a promotion's budget, each as good as its idea allows: pools that fit the load, statements
// that lock late and let go early, one round trip where one will do. They use database/sql without an ORM, and the same log, so
// what is left between them is the idea.
//
//	naive    one transaction per redemption, which ends with the offer's row            naive.go
//	slotted  the same, with the offer's counter split into slots                        slotted.go
//	split    user counters in the transaction, the budget's counter in Redis            split.go
//	redis    all counters in Redis, a log row in the database, rolled up later          redis.go
//
// What each gives and loses stands in the comment on its type. What they share:
//
//   - The log (log.go) is append-only and is the truth: a redemption is one row, each refund is one more. A unique key over offer,
//     redemption and refund makes both idempotent for as long as the rows live.
//   - Acknowledged means committed, under the database's own durability. When COMMIT's reply is lost the answer is "outcome unknown", and
//     a retry with the same key finds out.
//   - A transaction locks in one order: log row, user counter, budget. It is run again, a few times, when it was the victim of a
//     deadlock or a lock wait.
//   - Offers don't change, so that servers may remember them. A real service could not, and would read or invalidate them.
package rival
