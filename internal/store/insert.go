package store

import (
	"encoding/hex"
	"reflect"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"tranche/models"
)

// computed is columns of an INSERT that the database computes, each by an expression.
type computed map[string]string

// insert inserts rows of a model by one statement and gives the number of rows that it changed. The statement ends with suffix.
//
// gorm's own Create makes a batch of 100 entries a fifth dearer. This one leaves out columns that are NULL in all rows, and writes ids as
// digits: the database reads these faster than a placeholder's bytes, which would come escaped.
func insert[T any](q *query, rows []T, exprs computed, suffix string) (int64, error) {
	parsed := &gorm.Statement{DB: q.DB}
	if err := parsed.Parse(new(T)); err != nil {
		return 0, err
	}
	model, ctx, all := parsed.Schema, q.Statement.Context, reflect.ValueOf(rows)
	var columns []string
	var fields []*schema.Field
	for _, f := range model.Fields {
		if f.DBName == "" {
			continue // no column
		}
		if exprs[f.DBName] != "" || f.FieldType.Kind() != reflect.Pointer || someSet(all, f) {
			columns, fields = append(columns, f.DBName), append(fields, f)
		}
	}
	text := []byte("INSERT INTO " + model.Table + " (" + strings.Join(columns, ",") + ") VALUES ")
	args := make([]any, 0, len(rows)*len(fields))
	for i := range rows {
		separator := byte('(')
		for _, f := range fields {
			text = append(text, separator)
			separator = ','
			if expr := exprs[f.DBName]; expr != "" {
				text = append(text, expr...)
				continue
			}
			value, _ := f.ValueOf(ctx, all.Index(i))
			if id, ok := value.(models.ID); ok {
				text = append(hex.AppendEncode(append(text, "x'"...), id[:]), '\'')
				continue
			}
			text, args = append(text, '?'), append(args, value)
		}
		text = append(text, "),"...)
	}
	statement := string(text[:len(text)-1]) + suffix
	result, err := q.Statement.ConnPool.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// someSet reports whether any of the rows has a value in a field that is a pointer.
func someSet(rows reflect.Value, f *schema.Field) bool {
	for i := range rows.Len() {
		if !rows.Index(i).FieldByIndex(f.StructField.Index).IsNil() {
			return true
		}
	}
	return false
}
