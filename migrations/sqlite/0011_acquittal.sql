-- +goose Up

-- The twin of ../mysql.

-- When a closed lease exposes nothing any more. NULL: nobody has said so yet.
ALTER TABLE leases ADD COLUMN acquit_at INTEGER NULL;
CREATE INDEX leases_acquit ON leases (acquit_at);

-- +goose Down
DROP INDEX leases_acquit;
ALTER TABLE leases DROP COLUMN acquit_at;
