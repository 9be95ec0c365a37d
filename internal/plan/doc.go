// Package plan foretells what an offer will cost a fleet, before there is any: a pure model of one offer, far from the end of its budget,
// redeemed at a steady rate that the nodes share evenly, one unit at a time.
//
// The rules are not written down here again. Sizes, margins and graces are those of package lease, called with round numbers, and the
// pace of settling is that of package settle. The model adds how they meet:
//
//   - A grant serves until its units are spent. It serves for less when they would last for longer than an idle lease lives, for a
//     node spends from its oldest leases, and returns those that it has not come to by then.
//   - A node asks for its next block when half of one is left. So it holds between half a block and one and a half, one on average; two
//     at worst, where grants are so slow that it asks a whole block ahead; and another one in the books, while one that nobody
//     used is on its way back.
//   - Nobody else can spend what a node holds. When it dies, that is stranded until its leases are reclaimed; when its customers
//     go elsewhere, until they expire; and when it is cut off and goes on, that is what the budget can be overspent by.
//
// It leaves out: refunds and their pools, requests of many units, renewals (they don't touch the offer's row), user counters (a row
// for each user, not for each redemption), and the pace at which a crowd comes. A rate that jumps finds blocks of the size
// that the rate before had.
//
// Bytes were measured, on MariaDB and in a node's journal. Tests hold them, and the whole model, against a fleet that runs.
package plan
