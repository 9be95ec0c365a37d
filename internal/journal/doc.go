// Package journal is a node's own log of what it has acknowledged: records that are on the disk before anybody hears of them.
//
// It knows nothing of redemptions. A record is a type and a payload; it gets a sequence that rises by one, for ever, over
// restarts. Records are settled in any order, and a segment of the journal is removed when all that is in it is settled.
//
// # Who does what
//
//	Submit ──▶ open group ──▶ writer: one write, one fdatasync ──▶ all who wait for the group
//	                             │ segment full
//	                             ▼
//	                   seal it, name the next one in the manifest
//	                             ▲
//	maintenance loop: makes the next segment ahead of need, removes settled ones, marks how far all is durable
//
// The writer and the maintenance loop are the two goroutines of Run; nothing is written without them. While a group is being synced,
// the next one gathers, so a group is as large as the load makes it and nobody waits for a timer. There is one write under way
// at any time: a group is written when all groups before it are durable. Recovery rests on that.
//
// The first segment of a process is small, and each further one twice as large, up to a bound: twenty nodes that start on one disk
// with their database must not fill gigabytes before they have sold anything.
//
// A segment is filled with zeros and synced, and so is its name, before the manifest names it. So an append changes neither the
// size of a file nor where its blocks are. It is never recycled, and never appended to by another process than the one that
// named it.
//
// # What an append promises
//
//   - A sequence: the record is durable. It will be replayed after every restart until it is settled and its segment removed.
//   - ErrUnknown: it may be, or may get there yet. If recovery finds it, it is replayed like any other, so the caller must
//     treat what it stands for as open, and settling must be idempotent. A record that was replayed once is durable.
//   - Any other error: it never will be.
//
// A group fails or succeeds as a whole for those who wait for it. Recovery may find the first few records of one that failed.
//
// Settled is not persisted. After a restart everything is replayed that lies in a segment that was still kept, settled or not.
//
// # Failures
//
//   - A write or an fsync of a segment or the manifest fails, with whatever error: the journal has failed. It acknowledges
//     nothing and writes nothing until it was opened anew, for after a failed fsync the kernel may take for clean what the disk
//     has not got, and a later fsync succeeds. Opening it writes all that is not known to be durable once more.
//   - No space: found out where a segment is made, before anything depends on it. The open segment is used up, then appends are
//     refused with ErrNoSpace, and go on when a segment could be made, which is tried every second.
//     Err says so as soon as there is no open segment, also before the first append. Opening the journal,
//     sealing and removing segments need no space. Too many open files count as lack of space. (On a file system that copies on
//     write, space may run out in a write; then the journal has failed.)
//   - The backlog has reached its bound: ErrFull until enough is settled. The bound counts whole segments.
//   - The files are deleted under the process: each group looks whether its file still has a name, and the maintenance loop looks at
//     the manifest. The journal has failed then (ErrDeleted, too): records in such a file end with the process.
//   - A settled segment can't be removed: it is tried again. Nothing refers to it any more.
//   - The process is killed: the page cache has all, and it is synced by the next Open.
//   - The power is cut: see the rules below.
//   - Damage: Open gives a CorruptError with file and offset, and changes nothing. Scan reads all that can be read.
//
// # On disk
//
// Little-endian throughout; CRC is CRC32C. Every file begins with
//
//	 0          8         12         16
//	┌──────────┬─────────┬──────────┐
//	│ magic    │ version │ CRC 0–11 │      the same in all versions
//	└──────────┴─────────┴──────────┘
//
// A segment, NNNNNNNNNNNNNNNNNNNN.segment, has a header of 64 bytes, then records, then zeros:
//
//	16         24         32         48       60         64
//	┌──────────┬──────────┬──────────┬────────┬──────────┐
//	│ number   │ size     │ id       │ zeros  │ CRC 0–59 │
//	└──────────┴──────────┴──────────┴────────┴──────────┘
//
// The id is random. A record begins at a multiple of 8, and zeros fill it up to the next:
//
//	 0          4          8          16         20     21
//	┌──────────┬──────────┬──────────┬──────────┬──────┬─────────┬───────┐
//	│ CRC      │ length   │ sequence │ back     │ type │ payload │ zeros │
//	└──────────┴──────────┴──────────┴──────────┴──────┴─────────┴───────┘
//
// Its CRC goes over the segment's id and all of the record behind the CRC, the zeros too: a record that is found in another
// place than it was written to is not one. The length is that of the payload, at most 1 MiB. Back is the record's place in its
// group, from 1: everything up to sequence − back was durable when it was written. It is never 0, so zeros are not a record.
//
// The manifest has two copies, at 0 and at 65536, each of them:
//
//	16         24         32         40      44      48
//	┌──────────┬──────────┬──────────┬───────┬───────┬────────────┬──────────────┐
//	│ stamp    │ next     │ next     │ count │ zeros │ extents,   │ CRC of all   │
//	│          │ sequence │ segment  │       │       │ 56 each    │ before it    │
//	└──────────┴──────────┴──────────┴───────┴───────┴────────────┴──────────────┘
//	 0          8          24         32         40         48         56
//	┌──────────┬──────────┬──────────┬──────────┬──────────┬──────────┐
//	│ number   │ id       │ first    │ last     │ end      │ sealed   │
//	│          │          │ sequence │ sequence │          │          │
//	└──────────┴──────────┴──────────┴──────────┴──────────┴──────────┘
//
// An extent says: the segment's records from first to last are durable, and end at this offset. Sealed: and there are no others.
// The two copies say the same, and are written in place, one after the other; the stamp rises with each. It is written when a
// segment is named, sealed or removed, and about a second after something was appended.
//
// # Recovery
//
//  1. No manifest: no journal, one is made. But if there are segments, it is corrupt.
//  2. Of the manifest's copies the newest one counts that is sound. The other is from before, or was cut short. None: corrupt.
//  3. A segment that the manifest does not name was being made or being removed, and is dropped. But if no manifest has ever
//     named it (its number is too high) and it holds anything behind its header, it is corrupt.
//  4. A segment that the manifest names must be there, have the id and at least the size that it is to have, and its header
//     must be whole; else it is corrupt.
//  5. Up to the end that the manifest knows, record follows record, the sequence rising by one, from the first to the last that
//     it knows; else it is corrupt.
//  6. In a segment that is not sealed, which only the newest one can be, sound records in sequence count beyond that end too.
//  7. Behind the last record that counts, the whole rest of that segment is searched for sound records. If one says that more
//     than what counts had been durable when it was written, what is missing is damage: corrupt. Others belong to the same
//     group as what is missing, and that group was torn when the power went: sectors get to the disk in any order. It was never
//     acknowledged, and its rest is cut off.
//  8. Records that count and lie beyond the manifest's end are written once more and synced. Then the manifest says that the segment
//     is sealed there. Bytes behind that end are not read again, and are truncated.
//  9. Appends go on in a new segment. So nothing that was cut off can ever stand behind a record that was written later.
//
// A version above the known one is an error wherever a head is read. Nothing is changed before rule 8.
//
// # What can't be known
//
//   - Damage to the last group, when the node stopped without Close less than about a second after that group, and nothing was
//     appended in that second: it looks like a group that was torn, and is cut off. Before and after, the manifest or a later
//     group says that it had been durable, and the damage is found. So an orderly end leaves nothing open.
//   - The loss of the whole folder, or its replacement by an older copy of it.
//   - It is assumed that writing a sector does not harm what was in it already, if the power goes meanwhile. A group begins
//     where the one before it ended, in the same sector as a rule. A disk for which this is not true can damage the last group.
//   - It is assumed that fdatasync means that the disk has it: write caches are flushed or have their own power.
package journal
