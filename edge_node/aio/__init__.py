"""Named tasks, bounded mailboxes and typed emitters on top of asyncio."""
