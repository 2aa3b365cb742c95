"""The statements of `users.py`, which SQLite and PostgreSQL both understand."""

from __future__ import annotations

from sqlalchemy import text

_USERS = "SELECT u.id, u.email, u.name, u.role, u.group_name, u.password, u.disabled, u.created_at, u.seen_at FROM users u"

ANY = text("SELECT 1 FROM users LIMIT 1")
ADD = text(
    "INSERT INTO users (id, email, name, role, group_name, password, disabled, founder, created_at, seen_at)"
    " VALUES (:id, :email, :name, :role, :group, :password, :disabled, :founder, :created_at, :seen_at)"
)
ADOPT = text("UPDATE conversations SET user_id = :user WHERE user_id = 'local'")
BY_ID = text(_USERS + " WHERE u.id = :id")
BY_EMAIL = text(_USERS + " WHERE u.email = :email")
BY_IDENTITY = text(_USERS + " JOIN identities i ON i.user_id = u.id WHERE i.provider = :provider AND i.subject = :subject")
ALL = text(_USERS + " ORDER BY u.email")
SEEN = text("UPDATE users SET seen_at = :now WHERE id = :id")

IDENTITIES = text("SELECT user_id, provider FROM identities ORDER BY provider")
IDENTIFY = text("INSERT INTO identities (provider, subject, user_id, created_at) VALUES (:provider, :subject, :user, :now)")

LOCK_ADMINS = text("UPDATE users SET role = role WHERE role = 'admin'")
CHANGE = text(
    "UPDATE users SET role = :role, disabled = :disabled, group_name = :group WHERE id = :id"
    " AND ((:role = 'admin' AND NOT :disabled) OR EXISTS"
    " (SELECT 1 FROM users o WHERE o.id <> :id AND o.role = 'admin' AND NOT o.disabled))"
)

_SET = "UPDATE users SET password = :password WHERE id = :id"
SET_PASSWORD = text(_SET + " AND password = :old")
SET_FIRST_PASSWORD = text(_SET + " AND password IS NULL")
RESET_PASSWORD = text(_SET)
OFFER_RESET = text(
    "INSERT INTO resets (hash, user_id, expires_at) VALUES (:hash, :user, :expires_at)"
    " ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at"
)
USE_RESET = text("DELETE FROM resets WHERE hash = :hash AND expires_at > :now RETURNING user_id")
FORGET_RESET = text("DELETE FROM resets WHERE user_id = :user")

_INVITE = "SELECT id, email, role, group_name, made_by, created_at, expires_at, used_by FROM invites"
INVITE = text(
    "INSERT INTO invites (id, hash, email, role, group_name, made_by, created_at, expires_at)"
    " VALUES (:id, :hash, :email, :role, :group, :made_by, :created_at, :expires_at)"
)
INVITATION = text(_INVITE + " WHERE hash = :hash AND used_by IS NULL AND expires_at > :now")
INVITATIONS = text(_INVITE + " WHERE used_by IS NOT NULL OR expires_at > :now ORDER BY created_at DESC, id LIMIT 500")
USE_INVITE = text(
    "UPDATE invites SET used_by = :user, used_at = :now"
    " WHERE hash = :hash AND used_by IS NULL AND expires_at > :now AND (email = '' OR email = :email)"
)
WITHDRAW = text("DELETE FROM invites WHERE id = :id AND used_by IS NULL")
