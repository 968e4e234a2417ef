"""What is printed on packages, in scripts that Debian has no word lists for, and the words of trade in those that it has."""

from __future__ import annotations

from typing import Final

FLAVOURS: Final = (
    "Vanilla Chocolate Strawberry Lemon Mint Cherry Mango Peach Apple Banana Coconut Caramel Hazelnut Almond Honey Ginger "
    "Cinnamon Coffee Cocoa Raspberry Blueberry Orange Lime Grape Pineapple Pear Plum Fig Walnut Pecan Pistachio Maple Paprika "
    "Chilli Garlic Onion Tomato Basil Oregano Rosemary Thyme Pepper Curry Barbecue Cheese Salt Vinegar Original Classic Light "
    "Zero Spicy Mild Sweet Sour Smoked Roasted Natural Fresh Lavender Aloe Rose Jasmine Ocean Citrus Kids Sensitive Strong "
    "Vanille Schoko Erdbeere Zitrone Minze Kirsche Apfel Karamell Honig Zimt Haselnuss Natur Chocolat Fraise Citron Menthe "
    "Cerise Pomme Miel Noisette Nature Fresa Manzana Miel Naranja Limone Fragola Mela Cioccolato Nocciola Jordgubb Hallon Choklad "
    "Äpple Blåbär Truskawka Czekolada Wanilia Aardbei Chocolade Morango Laranja"
).split()
GOODS: Final = (
    "Milk Yoghurt Cream Butter Cheese Juice Water Soda Tea Coffee Cereal Muesli Oats Rice Pasta Noodles Flour Sugar Salt Soup "
    "Sauce Ketchup Mayonnaise Mustard Oil Vinegar Beans Peas Corn Tuna Sardines Biscuits Cookies Crackers Chips Popcorn Nuts "
    "Candy Gum Wafers Cake Bread Toast Jam Honey Spread Shampoo Soap Lotion Toothpaste Detergent Softener Cleaner Tissues Wipes "
    "Diapers Batteries Tablets Capsules Syrup Cream Gel Drops Spray Ointment Vitamin Paracetamol Ibuprofen Cat-Food Dog-Food "
    "Baby-Food Energy-Drink Beer Wine Cola Lemonade Kefir Tofu Hummus Pizza Burger Sausage Ham Bacon Fish Sticks Ice Cream"
).split()
CLAIMS: Final = (
    "NEW!|100 %|Organic|BIO|Vegan|Gluten free|No added sugar|Family pack|2 for 1|Since 1898|Premium|Extra|XXL|Low fat|High protein|"
    "Rich in fibre|Recyclable|Made with love|Best quality|Fair|Fresh|Limited edition|Ready in 3 min|Source of calcium|+20 %|"
    "Sans sucre|Neu|Nouveau|Nuevo|Sin gluten|Ohne Zucker|Kids love it|Shake well|Keep cool|Serve chilled|Now even better"
).split("|")
UNITS: Final = ("g", "kg", "ml", "L", "cl", "oz", "fl oz", "pcs", "x", "mg")
TABLE: Final = (
    "Energy|Fat|of which saturates|Carbohydrate|of which sugars|Fibre|Protein|Salt|Sodium|Calcium|Vitamin C|Iron|Brennwert|Fett|"
    "Kohlenhydrate|Eiweiß|Salz|Énergie|Matières grasses|Glucides|Protéines|Sel|Calories|Total Fat|Cholesterol|Serving size"
).split("|")

CHINESE: Final = "牛奶 酸奶 果汁 绿茶 红茶 咖啡 饼干 面条 大米 酱油 食盐 白糖 巧克力 草莓 柠檬 原味 香辣 清爽 低脂 天然 有机 纯净水 啤酒 洗发水 牙膏 香皂 维生素 薯片 花生 芝麻 蜂蜜 糖果 香蕉 苹果 麻辣 番茄 豆腐 火锅 营养 新鲜".split()
JAPANESE: Final = "おいしい 牛乳 ヨーグルト お茶 緑茶 コーヒー チョコレート いちご レモン バニラ うどん そば ラーメン しょうゆ みそ 塩 砂糖 お菓子 クッキー せんべい シャンプー 石けん はみがき 健康 新発売 限定 抹茶 さくら りんご みかん カレー 濃厚 さわやか ビール ジュース".split()
KOREAN: Final = "우유 요구르트 주스 녹차 커피 과자 라면 쌀 간장 소금 설탕 초콜릿 딸기 레몬 바닐라 매운맛 순한맛 유기농 신선한 맥주 샴푸 치약 비누 비타민 고추장 김치 두부 땅콩 꿀 사탕 바나나 사과 원조 맛있는 건강".split()
ARABIC: Final = "حليب زبادي عصير ماء شاي قهوة بسكويت مكرونة أرز ملح سكر شوكولاتة فراولة ليمون فانيليا عسل زيت زيتون جبنة زبدة صابون شامبو معجون فيتامين طبيعي جديد لذيذ طازج خالي من السكر تمر لوز مانجو برتقال".split()
HINDI: Final = "दूध दही रस पानी चाय कॉफी बिस्कुट चावल नमक चीनी चॉकलेट आम नींबू शहद तेल घी मसाला साबुन नया ताजा शुद्ध मीठा तीखा आटा दाल केला सेब बादाम काजू".split()
THAI: Final = "นม โยเกิร์ต น้ำผลไม้ ชา กาแฟ บิสกิต ข้าว เกลือ น้ำตาล ช็อกโกแลต มะนาว มะม่วง น้ำผึ้ง น้ำมัน สบู่ แชมพู ยาสีฟัน ใหม่ สด อร่อย หวาน เผ็ด กล้วย แอปเปิ้ล".split()
RUSSIAN: Final = "Молоко Йогурт Сок Вода Чай Кофе Печенье Макароны Рис Соль Сахар Шоколад Клубника Лимон Ваниль Мёд Масло Сыр Мыло Шампунь Витамин Новый Вкусный Свежий Классический Орех Вишня Яблоко Сметана Кефир".split()
GREEK: Final = "Γάλα Γιαούρτι Χυμός Νερό Τσάι Καφές Μπισκότα Ρύζι Αλάτι Ζάχαρη Σοκολάτα Φράουλα Λεμόνι Βανίλια Μέλι Λάδι Τυρί Σαπούνι Νέο Φρέσκο".split()
OTHER: Final = {
    "zh": CHINESE, "ja": JAPANESE, "ko": KOREAN, "ar": ARABIC, "hi": HINDI, "th": THAI, "ru": RUSSIAN, "el": GREEK,
}  # fmt: skip
