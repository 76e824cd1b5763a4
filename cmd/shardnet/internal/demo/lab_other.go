//go:build !linux

package demo

import "errors"

func newLab(*Config) (place, error) {
	return nil, errors.New("AF_XDP is Linux's: use shardnet demo --driver mem")
}
