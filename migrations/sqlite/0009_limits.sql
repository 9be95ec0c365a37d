-- +goose Up

-- The twin of ../mysql.

-- The recall number that an offer's user limits came with: leases with a lower one may not count users. 0: the limits are as old as
-- the offer. The number that a user's counter was made for; another one, or none: the ledger says what the user has used.
ALTER TABLE offers ADD COLUMN limited_from INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usages ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
-- For the few leases that expose units, among very many closed ones.
CREATE INDEX leases_exposed ON leases (offer_id, exposed);
-- When the transaction ran that inserted an entry. NULL: it is of a version that did not note it, see created_at.
ALTER TABLE entries ADD COLUMN booked_at INTEGER NULL;
-- When a node signed off; NULL: it has not, or has started again since.
ALTER TABLE nodes ADD COLUMN left_at INTEGER NULL;

-- +goose Down
ALTER TABLE nodes DROP COLUMN left_at;
ALTER TABLE entries DROP COLUMN booked_at;
DROP INDEX leases_exposed;
ALTER TABLE usages DROP COLUMN counted;
ALTER TABLE offers DROP COLUMN limited_from;
