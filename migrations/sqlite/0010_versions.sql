-- +goose Up

-- The twin of ../mysql.

-- The version of the program that a node started as. Empty: a version that did not say.
ALTER TABLE nodes ADD COLUMN version TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE nodes DROP COLUMN version;
