// SPDX-License-Identifier: BSD-3-Clause

package project

import "context"

// BenchModule is where BuildBench leaves its module: it is for guests of benchmarks alone.
func (p *Project) BenchModule() string { return p.state("bench.ko") }

// BuildBench makes the module from the developer's tree with what only benchmarks need: other
// ways to inspect and rebuild, and the floor below an update. What Build has made stays.
func (p *Project) BuildBench(ctx context.Context) error {
	in, unlock, err := p.begin(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = p.make(ctx, in, nil, product{module: p.BenchModule(), description: p.state("bench.yaml"), bench: true})
	return err
}
