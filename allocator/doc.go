// Package allocator takes one redemption from the request to the durable record, on the offers as the node's catalogue has them.
//
// # The way of a redemption
//
//	Redeem ─▶ catalogue ─▶ flight (one per key) ─▶ keeper.Spend ─▶ settler.Settle ─▶ answer
//	              │                                     │                │
//	              └── not active ──┐        nothing left┘                └ over the user's limit
//	                               ▼                    ▼                ▼
//	                               refusal: look the key up first, and only then say no
//
// Before a request is refused, its idempotency key is looked up in the ledger, after whatever was read that gives the reason: the
// request may be the retry of a success whose answer was lost, and that must be answered with the success, however little budget
// is left by now. Look-ups are made in batches, so that a sold-out offer under load costs few reads.
//
// # Carts
//
// A cart takes units of several offers, of all or of none, under one key, which names the redemption within each:
//
//	RedeemCart ─▶ flights of all items ─▶ keeper.Spend, item by item ─▶ settler.SettleCart ─▶ answer
//	                                              │                         │
//	                                              └──── one is refused ─────┘ all units go back, and the key is looked up in each offer
//
// Whatever a cart waits for several of, it waits for in the order of its offers: so two carts don't wait for each other. Once all units are
// there, all offers are looked at again, for the last may have taken a while. It is committed when it is answered, also where an offer is
// fast, and never goes to the journal: one disk can't promise what several leases have to hold.
//
// # What follows a redemption
//
// Refunds, confirmations and cancellations go to the desk, on any node, also when the offer has ended. Each is committed before it is
// answered. The redemption may be another node's and on its way from a journal into the ledger: then they wait for it, up to a second.
// That is enough but after a burst, when a node that others can't know of may take seconds to settle it; the answer says to ask again.
//
// A hold is a redemption in all else: in its key, which remembers for how long, in the journal, where it is a record of its own type, in
// an outage, and when it is booked late.
//
// # What an admin changes
//
// A change of terms recalls all leases (see package lease), so a node has applied it when it has no lease from before. Until then it
// may act on the old terms: a request is admitted on the terms that the node knows, spends from a block, and goes on only if the terms
// are still the same and as new as the block's. [Allocator.ChangeOffer] watches the leases for a moment, and tells who is pending and until
// when. Whoever isn't redeems nothing more on the old terms, for what it had spent is settled; or its leases were reclaimed, and what it had
// acknowledged from its journal before they ended may still be booked, late.
//
// # Errors
//
// They are those of package models. Which of them leave the outcome open is said there; after all others nothing was spent.
package allocator
