package tcp

import (
	"strings"
	"testing"
)

// renoOr is the name of Reno, or of the default.
func renoOr(reno bool) string {
	if reno {
		return "reno"
	}
	return ""
}

// TestCongestionNames holds the names that Config.Congestion takes.
func TestCongestionNames(t *testing.T) {
	for name, want := range map[string]congestionControl{"": cubic{}, "cubic": cubic{}, "reno": reno{}} {
		e, err := New(0, Config{Output: new(script), Congestion: name})
		if err != nil || e.congestion != want {
			t.Errorf("%q: %T, %v, want %T", name, e.congestion, err, want)
		}
	}
	_, err := New(0, Config{Output: new(script), Congestion: "vegas"})
	if err == nil || !strings.Contains(err.Error(), `"vegas" is not one of cubic, reno`) {
		t.Errorf("an unknown name: %v", err)
	}
}
