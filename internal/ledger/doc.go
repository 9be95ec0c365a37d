// Package ledger is the rules of the books, as pure functions: what the entries of a redemption add up to,
// and what a batch of wanted entries may add to them.
//
// The store runs a settle transaction around [Decide]; the in-memory fake of the tests runs the same Decide under a mutex.
// So what a redemption, a refund or a replay *means* is written down once.
//
// # A redemption
//
//	redeem ───────────────▶ redeemed ──▶ refund, refund, …
//	hold ──▶ held ─confirm──▶ redeemed ──▶ …
//	          ├───cancel────▶ cancelled
//	          └───expire────▶ expired
//
// A redemption is the fold of its entries. Seq 0 brings it into being; others follow, each with the last seq + 1.
// Two writers who both take the same next seq collide on the unique key, and the loser decides anew from what it then reads. So what
// ends a hold is always its entry 1, there is one, and whoever raced for it hears which.
//
// A redemption may have a thousand refunds. So a store may fold those that nobody asks for by id or key into one entry, and [Fold] takes it
// like the refunds behind it.
//
// A request for what was done already is answered with it: confirm for the same units, where none said means all, and cancel. Anything else is
// refused with what became of the hold; so is cancel after expire, for the shop should know that the units were free before it said so.
// A hold is in time until its expire entry is there, whatever the clock says.
//
// A hold counts in its user's counters like a redemption, and its confirmation not again. The units that it gives back, some or all,
// go to the budget and the user always: the refund policy is about what was redeemed.
//
// # A batch
//
//	histories, wanted ──Decide──▶ user deltas ──(database adds them, reads the sums back)──▶ Limit ──▶ appends, lease delta, verdicts
//
// Decide looks at each wanted entry in turn, as if those before it had been written. Limit then refuses what goes over a user's
// limit; only redeem and hold entries that were not acknowledged can be refused there. The whole batch is then gone through once
// more, so that what built on a refused one is judged without it, and whatever takes its place has to fit as well.
//
// An entry is known by its own id. Found in the history, it was written by an earlier attempt of the same batch; another entry
// in its place is another request with the same idempotency key, and the verdict is a replay or a refusal.
//
// # A cart
//
// The items of a cart are decided one by one, each as a batch of its own offer, and [AllOrNone] decides whether they are written. An item
// is a redemption like any other, so it can end and be refunded by itself; then the cart can end as a whole only the same way.
//
// # What was acknowledged
//
// An entry whose requester was answered from a node's journal can't be refused any more, only found out: it is booked over its
// user's limit, and on a lease that has closed ([DecideLate]), and listed as an exception. Its key alone can still keep it out. Then it
// is a replay of the same request, and one redemption after all; or the key is another request's, and it is listed as not booked.
// Acknowledged entries are decided before the others of their batch, which can still be refused.
//
// # Offers and leases
//
// The rules of creating, changing and granting from an offer are here too (offer.go), how that is audited (audit.go), and what
// closing a lease leaves behind (lease.go), for the same reason.
package ledger
