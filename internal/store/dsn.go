package store

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

const dsnShape = "user:password@tcp(host:3306)/database"

// dsnParameters are those that a DSN may have. Any other name would be set as a session variable, or let the client do what it must
// not: character_set_client=gbk makes an injection of a quoted text.
var dsnParameters = []string{
	"tls", "allowCleartextPasswords", "allowNativePasswords", "compress", "connectionAttributes", "maxAllowedPacket",
	// The store sets these itself; they are taken because DSNs of other programs have them.
	"charset", "collation", "loc", "parseTime", "interpolateParams", "clientFoundRows", "rejectReadOnly", "checkConnLiveness",
	"timeout", "readTimeout", "writeTimeout", syncWait,
}

var (
	urls      = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)
	networks  = regexp.MustCompile(`^(tcp[46]?|unix)$`)
	databases = regexp.MustCompile(`^[^@()?]+$`)
	names     = regexp.MustCompile(`^\w+$`)
)

// parseDSN reads a DSN. Its errors repeat no part of it but the names of parameters: in a broken one the password may be anywhere.
func parseDSN(dsn string) (*mysql.Config, error) {
	if urls.MatchString(dsn) {
		return nil, errors.New("the DSN is a URL: write it as " + dsnShape)
	}
	slash := strings.LastIndexByte(dsn, '/')
	if slash < 0 {
		return nil, errors.New("the DSN names no database: want " + dsnShape)
	}
	database, parameters, _ := strings.Cut(dsn[slash+1:], "?")
	cfg, err := mysql.ParseDSN(dsn[:slash+1] + database)
	if err != nil || !networks.MatchString(cfg.Net) || cfg.DBName != "" && !databases.MatchString(cfg.DBName) {
		return nil, errors.New("the DSN does not parse: want " + dsnShape)
	}
	if cfg.DBName == "" {
		return nil, errors.New("the DSN names no database: want " + dsnShape)
	}
	if err := checkParameters(parameters); err != nil {
		return nil, err
	}
	if cfg, err = mysql.ParseDSN(dsn); err != nil {
		return nil, errors.New("the DSN does not parse: want " + dsnShape)
	}
	return cfg, nil
}

func checkParameters(parameters string) error {
	for parameter := range strings.SplitSeq(parameters, "&") {
		key, _, _ := strings.Cut(parameter, "=")
		switch {
		case parameter == "":
		case !names.MatchString(key):
			return errors.New("the DSN's parameters do not parse: want ?name=value&name=value")
		case !slices.Contains(dsnParameters, key):
			return fmt.Errorf("the DSN has the parameter %s, which Tranche does not take: leave it out; it takes %s", key, strings.Join(dsnParameters[:6], ", "))
		default:
			if _, err := mysql.ParseDSN("/?" + parameter); err != nil {
				return fmt.Errorf("the DSN's parameter %s has a value that does not fit it", key)
			}
		}
	}
	return nil
}

// mysqlConfig reads a DSN and sets over it what the store depends on.
func mysqlConfig(dsn string) (*mysql.Config, error) {
	cfg, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	cfg.ParseTime = true
	cfg.Loc = time.UTC
	cfg.InterpolateParams = true
	cfg.ClientFoundRows = false
	cfg.RejectReadOnly = true
	cfg.CheckConnLiveness = true
	cfg.Timeout = dialTimeout
	cfg.ReadTimeout = socketTimeout
	cfg.WriteTimeout = socketTimeout
	cfg.Logger = &mysql.NopLogger{} // its errors come back to us as well
	if err := cfg.Apply(mysql.Charset(charset, charset+"_bin")); err != nil {
		return nil, err
	}
	cfg.Params = map[string]string{}
	for _, s := range sessionSettings {
		cfg.Params[s.variable] = s.literal
	}
	return cfg, nil
}
