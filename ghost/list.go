// SPDX-License-Identifier: BSD-3-Clause

package ghost

// A List is a queue of tasks, linked through them, so that nothing is allocated. A task is on
// one list at most. The zero value is empty.
type List struct {
	head Task // its ring's first and last; no task
	len  int
}

func (l *List) init() {
	if l.head.Next == nil {
		l.head.Next, l.head.Prev = &l.head, &l.head
	}
}

// Len is how many tasks are on it.
func (l *List) Len() int { return l.len }

// PushBack appends a task that is on no list.
func (l *List) PushBack(t *Task) {
	l.init()
	l.insert(t, l.head.Prev)
}

// PushFront puts a task that is on no list before all others.
func (l *List) PushFront(t *Task) {
	l.init()
	l.insert(t, &l.head)
}

// PushBefore puts a task that is on no list before one that is on this.
func (l *List) PushBefore(next, t *Task) { l.insert(t, next.Prev) }

func (l *List) insert(t, after *Task) {
	if t.Next != nil {
		panic("ghost: a task is to be on two lists, or twice on one")
	}
	t.Prev, t.Next = after, after.Next
	t.Prev.Next, t.Next.Prev = t, t
	l.len++
}

// Remove takes a task off the list; of one that is on none it does nothing.
func (l *List) Remove(t *Task) {
	if t.Next == nil {
		return
	}
	t.Prev.Next, t.Next.Prev = t.Next, t.Prev
	t.Next, t.Prev = nil, nil
	l.len--
}

// Front is the first task, nil if there is none.
func (l *List) Front() *Task {
	if l.len == 0 {
		return nil
	}
	return l.head.Next
}

// After is the task behind one that is on the list, nil if that is the last.
func (l *List) After(t *Task) *Task {
	if t.Next == &l.head {
		return nil
	}
	return t.Next
}

// PopFront takes the first task, nil if there is none.
func (l *List) PopFront() *Task {
	t := l.Front()
	if t != nil {
		l.Remove(t)
	}
	return t
}
