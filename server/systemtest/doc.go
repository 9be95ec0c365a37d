// Package systemtest tests the program from outside: the real binary, in one to six processes, on a real MySQL or MariaDB.
// It holds nothing but tests.
//
// # Who says what is true
//
// Three parties keep accounts, and no one of them is believed on its own:
//
//   - the shop, a load driver, writes down each answer it gets: acknowledged, refused, or still undecided;
//   - the books are read from the database's tables by SQL, in one snapshot, past all code of the program;
//   - the balance is asked of the nodes over HTTP, again and again while everything happens.
//
// A scenario does something nasty (kills, freezes, cuts) while the shop is open, lets the shop decide every order by retrying under
// the same key, and then compares: every acknowledged redemption is in the books once, what was refused is not, each lease's
// counters are the sums of its entries, each user's counter too, and allocated = net_spent + outstanding.
//
// Where a node may acknowledge before it has settled, the shop waits until the journals' backlogs are gone. Then every late entry and
// every redemption over a user's limit has to be in the list of exceptions as it was booked, once, and nothing else; the late units are
// the sum of the late entries; and when all nodes have ended, no lease is left, and no exposed unit that will not go by itself.
//
// A scenario makes sure that it took place: that something was unsettled when a node was killed, that budget was overspent, that a
// fault struck often enough. Otherwise it would pass with nothing to find.
//
// # Processes
//
// The binary is built once per run. Each node has a data directory of its own and a port below the range of outgoing connections, so
// that a restarted node finds its port free. All nodes belong to one process group whose leader reads a pipe from the test: when
// the test ends, however it ends, the pipe closes and the leader kills the group. No run leaves a process behind.
//
// # Time
//
// Nothing sleeps for a guess: tests wait for a condition, with a deadline. Deadlines that check a promise say so; the others are
// only there to end a test that hangs. Scenarios that mostly wait run beside each other, each on a database of its own. Scenarios come
// in a short version, and in a long one when TRANCHE_TEST_LONG is set.
package systemtest
