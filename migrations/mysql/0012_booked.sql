-- +goose Up

-- The server dates each entry: an expression in an INSERT of many rows is read for each of them. Nodes of the version before are dated, too.
ALTER TABLE entries ALTER COLUMN booked_at SET DEFAULT (TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)));

-- +goose Down
-- Defaults that nobody uses do no harm.
SELECT 1;
