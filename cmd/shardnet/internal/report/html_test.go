package report

import (
	"os"
	"testing"
)

func TestTmp(t *testing.T) {
	f, _ := os.Open("testdata/sample.json")
	r, err := ReadJSON(f)
	if err != nil {
		t.Fatal(err)
	}
	o, _ := os.Create("/tmp/rep/sample.html")
	if err := WriteHTML(o, r); err != nil {
		t.Fatal(err)
	}
	WriteText(os.Stdout, r)
}
