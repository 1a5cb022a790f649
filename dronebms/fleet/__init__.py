"""What only a fleet needs; nothing else imports it."""
