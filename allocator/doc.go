// Package allocator takes one redemption from its request to a durable record.
//
// # The way of a redemption
//
// [Allocator.Redeem] reads from top to bottom:
//
//	request ─▶ in_flight.go   one request per key on this node; a duplicate waits
//	        ─▶ remembered.go  a repeated request is answered as before
//	        ─▶ catalogue      the offer as this node knows it
//	        ─▶ spend.go       units from a block, on terms that hold
//	        ─▶ fast.go        offer and lease are fast: the journal, and the settler behind it
//	           strict.go      else: the ledger
//	           outage.go      mode available, and the ledger is away: the journal
//	        ─▶ answer, or refusal.go
//
// A refusal looks the key up in the ledger first, after the read that gave the reason. The request may repeat a success whose answer was
// lost. It must be answered with that success, however little budget is left by now. Look-ups are made in batches, so a sold-out offer
// under load costs few reads.
//
// An attempt is repeated in three cases: the offer was changed while the request waited, the lease was closed, or the books have units
// that the keeper did not know of.
//
// # Carts
//
// A cart takes units of several offers, of all or of none, under one key, which names the redemption within each:
//
//	RedeemCart ─▶ flights of all items ─▶ units, item by item ─▶ settler.SettleCart ─▶ answer
//	                                             │                        │
//	                                             └── one is refused ──────┘ all units go back, and the key is looked up in each offer
//
// A cart waits for its items in the order of their offers, so two carts never wait for each other. When it has all units, it looks at all
// offers again, since the last item may have waited for a while. A cart is committed when it is answered, also where an offer is fast. It
// never goes to the journal: one disk can't promise what several leases have to hold.
//
// # What follows a redemption
//
// Refunds, confirmations and cancellations go to the desk, on any node, also when the offer has ended. Each is committed before it is
// answered. The redemption may be in another node's journal, and not settled yet: then they wait for it, up to a second. After that the
// answer says to ask again.
//
// A list, or a user's usage, can't name what it waits for. On this node it waits until all is settled that was acknowledged before it
// (unsettled.go). While another node has leases of mode fast or available, the answer says that it may not be complete.
//
// A hold has the same durability as a redemption in the same mode. Its key remembers for how long it holds, and its journal record has a
// type of its own. A repeated hold is answered from the ledger only: it may have been cancelled or have expired, and then the answer is
// models.ErrHoldResolved instead of a success.
//
// # What an admin changes
//
// A change of terms recalls all leases; see package lease. A node has applied the change when it has no older lease. Until then it may act
// on the old terms: it admits a request on the terms that it knows, spends from a block, and goes on only if the terms are the same then
// and as new as the block's. [Allocator.ChangeOffer] watches the leases for a moment, and says which nodes are pending, and until when.
// Any other node redeems nothing more on the old terms: all that it had spent is settled. Or its leases were reclaimed: then redemptions
// that it had acknowledged in its journal before they ended may still be booked, late.
//
// # Errors
//
// They are those of package models. It says which of them leave the outcome open; after all others nothing was spent.
package allocator
