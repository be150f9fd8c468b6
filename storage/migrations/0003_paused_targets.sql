-- A target whose deliveries an operator holds back: unlike a disabled one it loses nothing.

ALTER TABLE targets ADD COLUMN paused_at TIMESTAMP;
