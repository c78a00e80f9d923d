"""Tokens of service accounts that live in Secrets: filled in, taken away with their account, cleaned when unused."""

from kumo.kubernetes.controller_manager.account_tokens.cleaning import LegacyTokenCleaner
from kumo.kubernetes.controller_manager.account_tokens.tokens import TokensController

__all__ = ["LegacyTokenCleaner", "TokensController"]
