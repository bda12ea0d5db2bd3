"""Who may do what, and how far the work is: users, the queue, agreement."""
