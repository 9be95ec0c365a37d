package main

import (
	"context"
	"fmt"
	"io"

	"tranche/server/node"
)

// migrate is the command that brings the tables up to date, with rights that nodes need not have.
type migrate struct{}

// Run implements the command.
func (migrate) Run(ctx context.Context, s *settings, out io.Writer) error {
	if err := node.Migrate(ctx, s.database(), s.logger()); err != nil {
		return s.inFile(err)
	}
	_, err := fmt.Fprintln(out, "the tables are up to date")
	return err
}
