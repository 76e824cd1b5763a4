package rawload

import "errors"

func (g *Generator) runTCP(Work) error { return errors.New("TCP is not there yet") }
