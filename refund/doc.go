// Package refund gives units back, into the refund pool of the node that takes the request: refunds of what was redeemed, and whatever
// ends a hold.
//
// A refund pool is a lease like any other, except that its units come from refunds and holds and not from a grant: it starts with none,
// and each entry that commits adds to it, in the database and in memory. So units that came back can be spent again at once, on this
// node, and never touch the offer's hot row until the pool is returned: when nobody has used it until it expires, when it has taken in
// the offer's lease size, when the offer's leases are recalled, or when the node drains.
// While more is out than the budget should be, because it was lowered or late units were booked, a pool cannot be spent from and is
// returned at once. So is one of an offer whose totals are exceeded: refunds go on, and nothing is redeemed any more.
//
// # Who does what
//
//   - [Desk.Book] books an entry on the pool's lease, in the same group commits as redemptions.
//   - [Desk.BookCart] books what ends or refunds a whole cart, on the pools of its offers, in one transaction.
//   - [Desk] opens a pool where there is none. At most one opening per offer is under way.
//   - [Sweeper] books the end of holds that nobody has confirmed or cancelled in time, those of dead nodes too.
//   - The lease keeper renews and returns pools; a reaper takes back those of dead nodes.
//   - A pool brings the offer as it was when the pool was there, and a refund is booked on the newest terms that the node knows: so
//     no later than with the next pool, a node refunds on the terms that the pool was opened on.
//
// A confirmation of all units gives nothing back. It is booked on the pool like the others, for the block that the hold was spent from may
// be another node's, or closed long ago; all that moves is from held to redeemed.
//
// # Never twice
//
// A refund, or what ends a hold, is the next entry of its redemption. Two of them, on any two nodes, that take the same place collide on
// the unique key, and the loser is decided anew on top of the winner: so the sum of refunds never passes what was redeemed, a hold ends
// once, and a repeated request finds its first answer. Which pool the units flow into makes no difference to that.
//
// So sweepers need not agree on who takes which hold. They look at different moments, each takes a random part of what it sees, and
// whoever is second hears that the hold has ended.
//
// # Failures
//
// The pool's lease may be closed while an entry is on its way to it (it expired, or this node was taken for dead). The fence refuses
// the entry, and it goes to a new pool. An acknowledged entry is committed; an unknown outcome is the caller's to retry, with the same
// request. A sweeper finds a hold that it could not expire again at its next look.
package refund
