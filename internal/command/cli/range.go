// SPDX-License-Identifier: BSD-3-Clause

package cli

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Range is a flag's value with bounds: what is outside of them is a mistake on the command
// line, found before anything is done. It is a pflag.Value and a flag.Value.
type Range[T int | time.Duration] struct {
	to       *T
	min, max T
	orZero   bool
	parse    func(string) (T, error)
	kind     string
}

// Int is a flag for a whole number from min to max; value is the default.
func Int(to *int, value, min, max int) *Range[int] {
	*to = value
	return &Range[int]{to: to, min: min, max: max, parse: strconv.Atoi, kind: "int"}
}

// Duration is a flag for a time from min to max; value is the default.
func Duration(to *time.Duration, value, min, max time.Duration) *Range[time.Duration] {
	*to = value
	return &Range[time.Duration]{to: to, min: min, max: max, parse: time.ParseDuration, kind: "duration"}
}

// OrZero allows 0 beside the range.
func (r *Range[T]) OrZero() *Range[T] {
	r.orZero = true
	return r
}

// Set implements pflag.Value.
func (r *Range[T]) Set(text string) error {
	v, err := r.parse(text)
	inside := cmp.Compare(r.min, v) <= 0 && cmp.Compare(v, r.max) <= 0
	if err != nil || !inside && !(v == 0 && r.orZero) {
		return Usagef("it must be %s", r.bounds())
	}
	*r.to = v
	return nil
}

func (r *Range[T]) bounds() string {
	s := fmt.Sprintf("from %s to %s", brief(r.min), brief(r.max))
	if r.orZero {
		s = "0, or " + s
	}
	return s
}

// brief is 24h for 24h0m0s.
func brief(v any) string {
	s := fmt.Sprint(v)
	if short, ok := strings.CutSuffix(s, "m0s"); ok {
		s = short + "m"
	}
	if short, ok := strings.CutSuffix(s, "h0m"); ok {
		s = short + "h"
	}
	return s
}

// String implements pflag.Value. The package flag asks a zero Range too.
func (r *Range[T]) String() string {
	if r.to == nil {
		return ""
	}
	return fmt.Sprint(*r.to)
}

// Type implements pflag.Value.
func (r *Range[T]) Type() string { return r.kind }
