-- +goose Up

-- What nearly all entries have in these columns, an INSERT of many rows need not say: reading it is a good part of what it costs.
ALTER TABLE entries
  ALTER COLUMN seq SET DEFAULT 0,
  ALTER COLUMN restores_budget SET DEFAULT FALSE,
  ALTER COLUMN restores_user_limit SET DEFAULT FALSE,
  ALTER COLUMN late SET DEFAULT FALSE;

-- +goose Down
-- Defaults that nobody uses do no harm.
SELECT 1;
