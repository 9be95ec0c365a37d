// Package refund gives redeemed units back, into the refund pool of the node that takes the refund.
//
// A refund pool is a lease like any other, except that its units come from refunds and not from a grant: it starts with none, and
// each refund that commits adds to it, in the database and in memory. So refunded units can be spent again at once, on this node,
// and never touch the offer's hot row until the pool is returned: when nobody has used it until it expires, when it has grown to the
// offer's lease size, when the offer's leases are recalled, or when the node drains.
//
// # Who does what
//
//   - [Desk.Refund] books a refund as an entry on the pool's lease, in the same group commits as redemptions.
//   - [Desk] opens a pool where there is none. At most one opening per offer is under way.
//   - The lease keeper renews and returns pools; a reaper takes back those of dead nodes.
//   - A pool brings the offer as it was when the pool was there, and a refund is booked on the newest terms that the node knows: so
//     no later than with the next pool, a node refunds on the terms that the pool was opened on.
//
// # Never twice
//
// A refund is the next entry of its redemption. Two refunds, on any two nodes, that take the same place collide on the unique key,
// and the loser is decided anew on top of the winner: so the sum never passes what was redeemed, and a repeated key finds
// its first answer. Which pool the units flow into makes no difference to that.
//
// # Failures
//
// The pool's lease may be closed while a refund is on its way to it (it expired, or this node was taken for dead). The fence refuses
// the entry, and the refund goes to a new pool. An acknowledged refund is committed; an unknown outcome is the caller's to retry,
// with the same key.
package refund
