// Package trial finds out whether a server's books are right.
//
// Customers sell a budget out: more of them than units, many at once, some of whom click twice, ask again after a success, order twice
// under two keys, or give back what they bought. In one of the scenarios the server is killed three times in the middle and started again; some
// of those whose answer was lost never come back. The trial writes down every answer it got. When all is decided and the server has caught up,
// that record is held against the rows in the database and against the counters that the server decides by.
//
//	lost      acknowledged to a customer, redemption or refund, and not in the books
//	double    one key with two redemptions, or a redemption given back more than once
//	oversold  units in the books, less those given back, beyond the budget
//	overrun   redemptions of users beyond their limit
//	refused   customers turned away for good although there were units left for them, or their limit was not reached, or who had a success
//	          already and only asked again
//	drift     by how much the server's counters differ from the books, offer and users together
//	open      orders that nobody decided before the trial gave up
//
// All of them are lower bounds that the record proves. refused counts a "sold out" only if, at every moment between question and answer,
// there was a unit that nobody had: not one of the orders in the books that had been sent by then, not one of those refused before.
package trial
