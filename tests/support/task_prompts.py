"""Requests for one task and for two, made up: those that recognition was tuned on, and others.

The words of the second part were written before anything was tuned, and not changed since.
"""

EXAMPLES = {
    "transcribe": (
        "Transcribe this recording.",
        "Write down what is said in this audio clip.",
        "Turn this voice memo into text.",
        "I need a transcript of the interview.",
        "Type out the speech in the attached file.",
        "Please transcribe the call word for word.",
    ),
    "ocr": (
        "Read the text in this picture.",
        "Extract the text from the scanned page.",
        "What does the sign in the photo say?",
        "OCR this image.",
        "Copy the words from the screenshot.",
        "Get the text out of this scan.",
    ),
    "translate": (
        "Translate this into French.",
        "How do you say this in German?",
        "Put this paragraph into Spanish.",
        "Give me the English version of this letter.",
        "Please translate the following text to Japanese.",
        "Render it in Italian.",
    ),
    "summarize": (
        "Summarize this article.",
        "Give me the key points of this report.",
        "What is this text about, in three sentences?",
        "Write a short summary of the meeting.",
        "Condense this into one paragraph.",
        "TL;DR of the following, please.",
    ),
    "sql": (
        "Write a SQL query that lists all customers.",
        "Query the orders table for last month's sales.",
        "Give me a SELECT statement that counts users by country.",
        "How do I join these two tables in SQL?",
        "Turn this question into a database query.",
        "Write the SQL for the ten most expensive products.",
    ),
    "classify": (
        "Classify this review as positive or negative.",
        "Which category does this ticket belong to?",
        "Label the sentiment of the following comment.",
        "Is this message spam or not?",
        "Sort this email into one of our departments.",
        "Tag this text with a topic.",
    ),
    "extract": (
        "Extract all names and dates from this contract.",
        "List the companies mentioned in the article.",
        "Pull the invoice number and the total out of this text.",
        "Return the addresses in this document as JSON.",
        "Find every phone number in the following.",
        "Which people appear in this text? Give a list.",
    ),
    "proofread": (
        "Correct the grammar of this text.",
        "Proofread my essay.",
        "Fix the spelling mistakes in the following.",
        "Check this paragraph for errors and correct them.",
        "Polish the wording of this email.",
        "Please edit this for grammar and style.",
    ),
}
"""The vocabulary of the tests: six prompts of each task."""

TUNED_ON = {
    "Transcribe this and translate it into English.": "transcribe>translate",
    "Summarize the article, then translate the summary to German.": "summarize>translate",
    "Read the text in this picture and put it into French.": "ocr>translate",
    "Extract the text from the scan and correct the spelling.": "ocr>proofread",
    "Translate this review and classify it as positive or negative.": "translate>classify",
    "Before you summarize it, transcribe the recording.": "transcribe>summarize",
    "Translate the letter after correcting its grammar.": "proofread>translate",
    "Transcribe the call; after that, list the people who are mentioned.": "transcribe>extract",
    "First translate this to English, then give me the key points.": "translate>summarize",
    "Once you have transcribed the interview, proofread it.": "transcribe>proofread",
    "Translate this into French and keep the formatting.": "translate",
    "Summarize this in one sentence and use simple words.": "summarize",
    "Correct the grammar, and do not change the names.": "proofread",
    "What is the capital of Peru, and how many people live there?": "",
    "Write a poem about rain and then tell me a joke.": "",
    "Transcribe the recording and let me know if anything is unclear.": "transcribe",
}
"""Prompts and what they ask for; empty where it is no task of the vocabulary."""

TWO_STEPS = {
    "Transcribe the attached lecture and summarize it.": "transcribe>summarize",
    "Please transcribe this podcast episode and then translate the transcript into Spanish.": (
        "transcribe>translate"
    ),
    "Turn the voice message into text and fix the grammar.": "transcribe>proofread",
    "Type out what the speaker says, then give me a short summary.": "transcribe>summarize",
    "Write down what is said in the video and translate that into Dutch.": "transcribe>translate",
    "I need a transcript of this meeting, followed by a summary of the key points.": (
        "transcribe>summarize"
    ),
    "Transcribe the customer call and classify the sentiment as positive or negative.": (
        "transcribe>classify"
    ),
    "Transcribe the hearing and extract all names and dates.": "transcribe>extract",
    "After transcribing the interview, translate it to Portuguese.": "transcribe>translate",
    "Summarize the webinar after you have transcribed it.": "transcribe>summarize",
    "Read the sign in this photo and translate it into English.": "ocr>translate",
    "Get the text out of this screenshot and summarize it.": "ocr>summarize",
    "OCR the receipt, then pull out the total and the date.": "ocr>extract",
    "Extract the text from this scanned letter and translate it to Polish.": "ocr>translate",
    "Read the handwriting in the image, then correct the spelling.": "ocr>proofread",
    "Copy the words from this picture and render them in German.": "ocr>translate",
    "OCR this page. Then summarize it in two sentences.": "ocr>summarize",
    "Once you have read the text in the scan, list the companies mentioned in it.": "ocr>extract",
    "Before translating it into Korean, extract the text from the image.": "ocr>translate",
    "Get the text from the scanned form and sort it into one of our departments.": "ocr>classify",
    "Translate this article into English and summarize it.": "translate>summarize",
    "Translate the comments to English, then label their sentiment.": "translate>classify",
    "Put this email into French and check it for errors.": "translate>proofread",
    "First translate the contract into English, then extract all dates from it.": (
        "translate>extract"
    ),
    "Translate the review into German; afterwards tell me whether it is positive or negative.": (
        "translate>classify"
    ),
    "Give me the English version of this report and condense it into one paragraph.": (
        "translate>summarize"
    ),
    "Summarize this paper and translate the result into Chinese.": "summarize>translate",
    "Write a short summary of the minutes and put it into Italian.": "summarize>translate",
    "Give me the key points of this thread, then translate them to Turkish.": (
        "summarize>translate"
    ),
    "Condense the following and then proofread it.": "summarize>proofread",
    "Summarize the complaint and classify it by department.": "summarize>classify",
    "Translate this into Swedish after summarizing it.": "summarize>translate",
    "Proofread my essay and then translate it into English.": "proofread>translate",
    "Correct the grammar of this letter and translate it to Russian.": "proofread>translate",
    "Fix the spelling mistakes, then write a summary.": "proofread>summarize",
    "Polish the wording of this text and render it in Spanish.": "proofread>translate",
    "Check this paragraph for errors before you translate it into Greek.": "proofread>translate",
    "Extract all names from the document and translate them into English.": "extract>translate",
    "List the people mentioned here, then sort them by category.": "extract>classify",
    "Pull the action items out of these notes and summarize them.": "extract>summarize",
    "Classify this ticket and translate it into English.": "classify>translate",
    "Label the topic of this text and then summarize it.": "classify>summarize",
    "Translate the question into English and turn it into a SQL query.": "translate>sql",
    "Transcribe what I ask in the recording and write the SQL for it.": "transcribe>sql",
    "Summarize the request, then write a SQL query that answers it.": "summarize>sql",
    "transcribe -> translate to french": "transcribe>translate",
    "ocr, then translate to english": "ocr>translate",
    "transcribe it and then tl;dr please": "transcribe>summarize",
    "Could you take down what he says and afterwards put it into English?": (
        "transcribe>translate"
    ),
    "Read out the text on the label and tell me what it says in English.": "ocr>translate",
    "Boil this down to the essentials and give me that in Japanese.": "summarize>translate",
    "Clean up the grammar in this transcript and shorten it to one paragraph.": (
        "proofread>summarize"
    ),
}
"""Held back from tuning: two steps each."""

ONE_STEP = {
    "Translate this menu into English and keep the prices as they are.": "translate",
    "Summarize the following and be brief.": "summarize",
    "Summarize this chapter, please, and mention the main characters.": "summarize",
    "Transcribe the first and the second recording.": "transcribe",
    "Fix the grammar and the punctuation of this note.": "proofread",
    "Extract the names and the addresses from this list.": "extract",
    "Write a SQL query that joins orders and customers and sorts them by date.": "sql",
    "Is this comment toxic, or is it fine?": "classify",
    "Read the text in the picture and give me all of it.": "ocr",
    "Translate the letter to Spanish, then wish me luck.": "translate",
    "What is a good restaurant in Rome, and what should I order there?": "",
    "Explain photosynthesis and then quiz me on it.": "",
    "Write a function that reverses a list and then test it.": "",
    "How old is the universe and how do we know?": "",
    "Tell me about the French Revolution and its causes.": "",
    "Plan a birthday party and suggest a cake.": "",
    "Who wrote Don Quixote, and when?": "",
    "Compare Python and Java, then recommend one.": "",
}
"""Held back too: one step or none, which are not to be taken for two."""
