package doctor

import (
	"encoding/json"
	"fmt"
	"io"
)

// Level says how bad a finding is.
type Level string

const (
	OK   Level = "ok"
	Warn Level = "warn" // it works, but not as well as it could
	Fail Level = "fail" // it does not work
)

// Finding is the result of one check.
type Finding struct {
	Level   Level  `json:"level"`
	Subject string `json:"subject"` // what was looked at
	Text    string `json:"text"`    // what was found
	Remedy  string `json:"remedy,omitempty"`
}

func (f Finding) String() string {
	s := fmt.Sprintf("%-4s  %-13s %s", f.Level, f.Subject, f.Text)
	if f.Remedy != "" {
		s += ": " + f.Remedy
	}
	return s
}

// Report writes findings to w, a line each, and reports whether none is a Fail.
func Report(w io.Writer, findings []Finding, asJSON bool) (ok bool, err error) {
	ok = true
	for _, f := range findings {
		ok = ok && f.Level != Fail
		if asJSON {
			err = json.NewEncoder(w).Encode(f)
		} else {
			_, err = fmt.Fprintln(w, f)
		}
		if err != nil {
			return ok, err
		}
	}
	return ok, nil
}
