// Package contract is what the rivals share with Tranche: the part of its HTTP contract that a benchmark uses, with the same bodies,
// the same problems and the same meaning of a retry.
//
// A rival implements Books and nothing of HTTP. The handlers parse with the library that Tranche and the floor parse with, and
// write a redemption with the same members, so that a difference between two servers is a difference between their books.
//
//	POST /v1/offers                              201, an identical repeat 200
//	POST /v1/offers/{offer}/redemptions          201, with Idempotency-Key
//	POST /v1/redemptions/{id}/refunds            201, with Idempotency-Key
//	GET  /v1/offers/{offer}/balance              200, from the counters that redemptions are judged by
//	GET  /v1/offers/{offer}/users/{user}         200, likewise
//	GET  /readyz                                 200 or 503
//
// What a benchmark does not use is left out: windows, pausing, holds, carts, lists, keys, the strict refusal of odd requests.
package contract
