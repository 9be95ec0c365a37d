-- +goose Up

-- SQLite can't change the default of a column. Its INSERTs say the expression.
SELECT 1;

-- +goose Down
-- Defaults that nobody uses do no harm.
SELECT 1;
